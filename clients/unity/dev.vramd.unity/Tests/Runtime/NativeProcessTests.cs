using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using NUnit.Framework;

namespace Vramd.Unity.Tests
{
    /// <summary>Starting a process by the system's calls, as a player of IL2CPP does.</summary>
    public sealed class NativeProcessTests
    {
        [Test]
        public void WhatAProcessReadsItWritesAndItsExitCodeIsKnown()
        {
            var windows = RuntimeInformation.IsOSPlatform(OSPlatform.Windows);
            var command = windows
                ? new[] { @"C:\Windows\System32\cmd.exe", "/c", "findstr x & exit 7" }
                : new[] { "/bin/sh", "-c", "cat; exit 7" };
            var variables = new Dictionary<string, string> { ["PATH"] = Environment.GetEnvironmentVariable("PATH") };
            using (var process = new NativeProcessStarter().Start(command, Path.GetTempPath(), variables))
            {
                var line = Encoding.UTF8.GetBytes("x\n");
                process.StandardInput.Write(line, 0, line.Length);
                process.StandardInput.Dispose();
                var said = new StreamReader(process.StandardOutput).ReadToEnd();
                Assert.That(said.Trim(), Is.EqualTo("x"));
                Assert.That(process.Exited.Result, Is.EqualTo(7));
            }
        }
    }
}
