#nullable enable
using System;
using System.Net.Http;

namespace Vramd.Unity
{
    /// <summary>What carries calls to the supervisor. Unity's own <c>HttpClient</c> has no HTTP/2, which they
    /// need.</summary>
    public static class Handlers
    {
        /// <summary>A handler of the project's own, for every client from now on; null: the one that is
        /// found.</summary>
        public static Func<HttpMessageHandler>? Own { get; set; }

        /// <summary>Makes the handler of a client: <see cref="Own"/>, else that of Unity 6000.5 and later, else
        /// YetAnotherHttpHandler.</summary>
        /// <exception cref="InvalidOperationException">There is none of these; the message says what to
        /// install.</exception>
        public static HttpMessageHandler Make()
        {
            if (Own != null)
            {
                return Own();
            }
#if UNITY_6000_5_OR_NEWER
            return new UnityEngine.Networking.UnityHttpMessageHandler
            {
                HttpForcedVersion = UnityEngine.Networking.HttpForcedVersion.HTTP2,
            };
#elif VRAMD_YAHA
            return new Cysharp.Net.Http.YetAnotherHttpHandler { Http2Only = true };
#else
            throw new InvalidOperationException(
                "vramd needs HTTP/2, which this Unity has not: install the package com.cysharp.yetanotherhttphandler " +
                "(https://github.com/Cysharp/YetAnotherHttpHandler), or use Unity 6000.5 or later");
#endif
        }
    }
}
