#nullable enable
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;

namespace UnityEngine.Networking
{
    public enum HttpForcedVersion
    {
        NotForced = 0,
        HTTP1_0 = 1,
        HTTP1_1 = 2,
        HTTP2 = 3,
    }

    public sealed class UnityHttpMessageHandler : HttpMessageHandler
    {
        public HttpForcedVersion HttpForcedVersion { get; set; }

        protected override Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellationToken) =>
            throw new System.NotSupportedException();
    }
}

namespace Cysharp.Net.Http
{
    public class YetAnotherHttpHandler : HttpMessageHandler
    {
        public bool? Http2Only { get; set; }

        protected override Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellationToken) =>
            throw new System.NotSupportedException();
    }
}
