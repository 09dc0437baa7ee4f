using System;
using System.Collections.Generic;
using System.IO;
using System.Threading.Tasks;
using Xunit;

namespace Vramd.Tests.Launching;

public sealed class LaunchCommandTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vs").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void The_command_given_comes_before_all_others()
    {
        var (given, variable, beside, path) = Everywhere();
        Assert.Equal([given, "-v"], Find([given, "-v"], variable));
        Assert.Equal([variable], Find(null, variable));
        Assert.Equal([beside], Find(null, null));
        File.Delete(beside);
        Assert.Equal([path], Find(null, null));
        File.Delete(path);
        var error = Assert.Throws<StartFailedException>(() => Find(null, null));
        Assert.Contains("none is on PATH", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, "vramd/bin/python3")]
    [InlineData(true, "vramd/python.exe")]
    public void A_python_beside_the_program_has_vramd_as_a_module(bool windows, string file)
    {
        var python = Make(Path.Combine("program", file));
        Assert.Equal([python, "-m", "vramd"], Find(null, null, windows));
    }

    [Fact]
    public void Words_of_the_variable_may_have_spaces_between_quotes()
    {
        var program = Make("a folder/vramd");
        Assert.Equal([program, "-m", "v r"], Find(null, $"\"{program}\" -m \"v r\""));
    }

    [Theory]
    [InlineData("/nowhere/vramd", null)]
    [InlineData("vramd-that-is-nowhere", null)]
    [InlineData(null, "/nowhere/vramd")]
    [InlineData(null, " ")]
    public void A_command_that_is_not_there_is_named(string? given, string? variable)
    {
        Make("path/vramd");
        var error = Assert.Throws<StartFailedException>(() => Find(given is null ? null : [given], variable));
        Assert.Contains($"there is no program {given ?? variable}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_command_may_lie_below_the_current_folder()
    {
        var program = Make("program/vramd");
        var relative = Path.GetRelativePath(Directory.GetCurrentDirectory(), program);
        Assert.Equal([program], Find([relative], null));
    }

    [Fact]
    public void Options_become_arguments()
    {
        var options = new SupervisorOptions
        {
            Models = ["models"],
            ConfigFile = "vramd.toml",
            Budgets = new Dictionary<string, string> { ["card"] = "6GiB" },
            Host = "::1",
            Port = 5,
        };
        var here = Directory.GetCurrentDirectory();
        Assert.Equal(
            [
                "serve", "--handshake=stdout", "--lifeline=stdin", "--runtime-dir=/run/here", "--port=5", "--host=::1",
                $"--config={here}/vramd.toml", $"--models={here}/models", "--budget=card=6GiB",
            ],
            SupervisorCommand.Arguments(options, "/run/here", 7));
        options = new SupervisorOptions { Lifeline = Lifeline.Owner };
        Assert.Contains("--lifeline=pid:7", SupervisorCommand.Arguments(options, "/run/here", 7));
    }

    [Fact]
    public async Task Arguments_arrive_as_they_are()
    {
        string[] words = ["/bin/sh", "-c", "printf '%s\\n' \"$@\"", "sh", "", "a b", "\"", "a\\\"b", "\\", "c:\\d\\", "'é'", "$x"];
        using var process = new ProcessStarter().Start(words, _folder, new Dictionary<string, string>());
        var lines = new List<string>();
        await OutputLines.ReadAsync(process.StandardOutput, lines.Add);
        Assert.Equal(words[4..], lines);
    }

    [Fact]
    public void Relative_paths_of_the_environment_are_those_of_this_program()
    {
        var made = SupervisorEnvironment.Make(new Dictionary<string, string?>
        {
            ["VRAMD_MODELS"] = $"a{Path.PathSeparator}/b{Path.PathSeparator}~/c",
            ["VRAMD_CONFIG"] = "vramd.toml",
            ["PATH"] = null,
        });
        var here = Directory.GetCurrentDirectory();
        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        Assert.Equal(
            [Path.Combine(here, "a"), "/b", Path.Combine(home, "c")], made["VRAMD_MODELS"].Split(Path.PathSeparator));
        Assert.Equal(Path.Combine(here, "vramd.toml"), made["VRAMD_CONFIG"]);
        Assert.DoesNotContain("PATH", made.Keys);
    }

    private IReadOnlyList<string> Find(IReadOnlyList<string>? given, string? variable, bool windows = false) =>
        SupervisorCommand.Find(
            given,
            name => name == "PATH" ? Path.Combine(_folder, "path") : name == "VRAMD_COMMAND" ? variable : null,
            Path.Combine(_folder, "program"),
            windows);

    private (string Given, string Variable, string Beside, string Path) Everywhere()
    {
        return (Make("given/vramd"), Make("variable/vramd"), Make("program/vramd"), Make("path/vramd"));
    }

    private string Make(string name)
    {
        var file = Path.GetFullPath(Path.Combine(_folder, name));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, "");
        return file;
    }
}
