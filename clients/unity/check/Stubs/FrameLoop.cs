#nullable enable
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;

namespace UnityEngine
{
    /// <summary>Unity's main thread: continuations run once a frame, then each component's Start and Update.</summary>
    public sealed class FrameLoop : SynchronizationContext
    {
        private static readonly List<GameObject> s_objects = new List<GameObject>();
        private readonly ConcurrentQueue<(SendOrPostCallback Call, object? State)> _posted =
            new ConcurrentQueue<(SendOrPostCallback, object?)>();

        public static int Frames { get; private set; }

        internal static void Add(GameObject created) => s_objects.Add(created);

        internal static void Remove(GameObject destroyed) => s_objects.Remove(destroyed);

        public override void Post(SendOrPostCallback d, object? state) => _posted.Enqueue((d, state));

        public override void Send(SendOrPostCallback d, object? state) => throw new NotSupportedException();

        /// <summary>Runs work on this thread as Unity does, in frames of this length, until it has ended.</summary>
        public static void Run(Func<Task> work, TimeSpan frame, TimeSpan bound)
        {
            var loop = new FrameLoop();
            var before = Current;
            SetSynchronizationContext(loop);
            try
            {
                var watch = Stopwatch.StartNew();
                var task = work();
                while (!task.IsCompleted)
                {
                    if (watch.Elapsed > bound)
                    {
                        throw new TimeoutException($"not over after {bound}");
                    }
                    loop.Frame();
                    Thread.Sleep(frame);
                }
                task.GetAwaiter().GetResult();
            }
            finally
            {
                foreach (var left in s_objects.ToArray())
                {
                    Object.Destroy(left);
                }
                loop.Frame();
                SetSynchronizationContext(before);
            }
        }

        private void Frame()
        {
            Frames++;
            foreach (var game in s_objects.ToArray())
            {
                foreach (var component in game.Components)
                {
                    if (component.enabled)
                    {
                        if (!component.Started)
                        {
                            component.Started = true;
                            component.Send("Start");
                        }
                        component.Send("Update");
                    }
                }
            }
            // What these post is for the next frame.
            for (var count = _posted.Count; count > 0 && _posted.TryDequeue(out var posted); count--)
            {
                posted.Call(posted.State);
            }
        }
    }
}
