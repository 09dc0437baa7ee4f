#nullable enable
using System;
using System.Threading.Tasks;

namespace Vramd.Unity.Editor
{
    /// <summary>The supervisor of this project's settings, as the editor sees it outside of play mode.</summary>
    internal static class EditorSupervisor
    {
        private static VramdClient? s_client;

        /// <summary>A client of the one that runs; null if none does.</summary>
        public static VramdClient? Find()
        {
            if (s_client != null)
            {
                return s_client;
            }
            var folder = VramdSettings.Default().RuntimeDirectory;
            return VramdEndpoint.TryFind(out _, folder)
                ? s_client = VramdClient.Connect(folder, VramdSettings.ClientOptions())
                : null;
        }

        /// <summary>Starts one, unless one runs. It lives as long as the editor.</summary>
        public static async Task StartAsync()
        {
            using var session = new VramdSession(VramdSettings.Default());
            await session.ClientAsync();
        }

        /// <summary>Ends the one that runs, with all its models.</summary>
        public static async Task StopAsync()
        {
            if (Find() is VramdClient client)
            {
                await client.ShutdownAsync(force: true);
                Forget();
            }
        }

        /// <summary>Ends every call of the client. The supervisor goes on.</summary>
        public static void Forget()
        {
            s_client?.Dispose();
            s_client = null;
        }

        /// <summary>What to say of an error.</summary>
        public static string Explain(Exception error) =>
            error is SupervisorNotFoundException ? "not running" : error.Message;
    }
}
