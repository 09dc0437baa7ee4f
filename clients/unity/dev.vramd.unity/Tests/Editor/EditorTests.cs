using NUnit.Framework;
using UnityEngine;
using Vramd.Unity.Editor;

namespace Vramd.Unity.Tests
{
    /// <summary>What a build of a player adds to it.</summary>
    public sealed class EditorTests
    {
        [Test]
        public void StrippingLeavesWhatTheWireNeeds()
        {
            foreach (var name in new[] { "Vramd.Client", "Google.Protobuf", "Google.Api.CommonProtos" })
            {
                Assert.That(VramdLinker.Text(), Does.Contain($"fullname=\"{name}\" preserve=\"all\""));
            }
        }

        [Test]
        public void ARuntimeLiesBesideThePlayer()
        {
            Assert.That(
                VramdBuild.PlayerRuntime(RuntimePlatform.LinuxPlayer, "/builds/Game.x86_64").Replace('\\', '/'),
                Is.EqualTo("/builds/vramd"));
        }
    }
}
