#nullable enable
using System.IO;
using System.Linq;
using UnityEditor.Build.Reporting;
using UnityEditor.UnityLinker;

namespace Vramd.Unity.Editor
{
    /// <summary>Keeps what code stripping would take: a package's own link.xml is not read.</summary>
    internal sealed class VramdLinker : IUnityLinkerProcessor
    {
        internal const string File = "Library/vramd.link.xml";
        private static readonly string[] s_kept = { "Vramd.Client", "Google.Protobuf", "Google.Api.CommonProtos" };

        /// <inheritdoc/>
        public int callbackOrder => 0;

        /// <inheritdoc/>
        public string GenerateAdditionalLinkXmlFile(BuildReport report, UnityLinkerBuildPipelineData data)
        {
            System.IO.File.WriteAllText(File, Text());
            return Path.GetFullPath(File);
        }

        internal static string Text() =>
            "<linker>\n" +
            string.Concat(s_kept.Select(name => $"  <assembly fullname=\"{name}\" preserve=\"all\" />\n")) +
            "</linker>\n";
    }
}
