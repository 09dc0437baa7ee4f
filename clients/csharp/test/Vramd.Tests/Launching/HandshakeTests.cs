using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Threading.Tasks;
using Xunit;

namespace Vramd.Tests.Launching;

public sealed class HandshakeTests
{
    [Fact]
    public void The_line_is_read_whatever_else_it_says()
    {
        var line = """
            VRAMD_READY {"schema": 1, "api": 2, "version": "0.1.0", "pid": 7, "address": "a:1", "runtime_dir": "/é", "x": []}
            """;
        Assert.Equal(new HandshakeLine.Ready("a:1", 7, "/é", 2), HandshakeLine.Parse(line));
        Assert.Equal(
            new HandshakeLine.Failed(69, "no"), HandshakeLine.Parse("VRAMD_ERROR {\"code\": 69, \"message\": \"no\"}"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("hello")]
    [InlineData("VRAMD_READY")]
    [InlineData("VRAMD_READY {")]
    [InlineData("VRAMD_READY []")]
    [InlineData("VRAMD_READY {\"pid\": 7}")]
    [InlineData("VRAMD_ERROR {\"code\": 69}")]
    public void Any_other_line_is_none(string line) => Assert.Null(HandshakeLine.Parse(line));

    [Fact]
    public async Task Output_comes_line_by_line_and_a_long_one_in_pieces()
    {
        var text = "a\r\n\né" + new string('x', 40_000) + "\nend";
        var lines = new List<string>();
        await OutputLines.ReadAsync(new MemoryStream(Encoding.UTF8.GetBytes(text)), lines.Add);
        Assert.Equal(["a", ""], lines[..2]);
        Assert.Equal("end", lines[^1]);
        Assert.Equal("é" + new string('x', 40_000), string.Concat(lines[2..^1]));
        Assert.All(lines, line => Assert.True(line.Length <= 16 << 10));
    }

    [Fact]
    public void The_tail_is_the_last_4_KiB()
    {
        var tail = new OutputTail();
        for (var line = 0; line < 10_000; line++)
        {
            tail.Add($"line {line}");
        }
        Assert.EndsWith("line 9998\nline 9999", tail.ToString(), StringComparison.Ordinal);
        Assert.InRange(tail.ToString().Length, 4000, 4096);
    }
}
