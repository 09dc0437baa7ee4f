using System;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Tests;

/// <summary>Reasons that a real supervisor gives, with what their exceptions have.</summary>
public sealed class ReasonTests : IAsyncLifetime
{
    private const long GiB = 1 << 30;

    private RealSupervisor _supervisor = null!;
    private VramdClient _client = null!;

    public async ValueTask InitializeAsync()
    {
        _supervisor = await RealSupervisor.StartAsync(
            "[server]\nrequest_deadline_s = 60\n[scheduling]\nqueue_per_model = 1\nstop_s = 0.3\n"
            + Configuration.Card
            + Configuration.Simulated("quick", settings: ("context", 100))
            + Configuration.Simulated("slow", settings: ("tokens_per_s", 1))
            + Configuration.Simulated("endless-load", settings: ("load_s", 600))
            + Configuration.Simulated("crash-in-load", settings: ("manners", (string[])["exit-in-load"]))
            + Configuration.Simulated("pinned", card: "4GiB", settings: ("pinned", true))
            + Configuration.Simulated("beside-pinned", card: "5GiB")
            + Configuration.Simulated("giant", card: "9GiB")
            + Configuration.File("gone", "/nowhere/gone.gguf"));
        _client = VramdClient.Connect(_supervisor.Folder);
    }

    public async ValueTask DisposeAsync()
    {
        await _client.DisposeAsync();
        await _supervisor.DisposeAsync();
    }

    [Fact]
    public async Task Refusals_have_their_class_and_its_properties()
    {
        var field = await Refused<InvalidRequestException>(Reasons.FieldInvalid, _client.AnswerAsync("quick", []));
        Assert.Equal("messages", field.Field);

        var prompt = await Refused<PromptTooLongException>(Reasons.ContextOverflow, _client.GenerateAsync(
            "quick", string.Concat(Enumerable.Repeat("word ", 101))).ToAnswerAsync());
        Assert.Equal(100, prompt.ContextTokens);
        Assert.True(prompt.PromptTokens > 100);

        var large = await Refused<PromptTooLongException>(Reasons.PromptTooLarge, _client.GenerateAsync(
            "quick", new string('x', 10 << 20)).ToAnswerAsync());
        Assert.True(large.Bytes > large.LimitBytes);

        var unknown = await Refused<NotFoundException>(Reasons.ModelNotFound, _client.LoadAsync("quik"));
        Assert.Equal("quik", unknown.Model);

        var missing = await Refused<FileMissingException>(Reasons.ModelFileMissing, _client.LoadAsync("gone"));
        Assert.Equal(("gone", "/nowhere/gone.gguf"), (missing.Model, missing.Path));

        var giant = await Refused<TooLargeException>(Reasons.ModelTooLarge, _client.LoadAsync("giant"));
        Assert.Equal(("giant", "card"), (giant.Model, giant.Device));
        Assert.True(giant.NeededBytes >= 9 * GiB && giant.BudgetBytes <= 8 * GiB);

        var idle = await Refused<NotLoadedException>(Reasons.ModelNotLoaded, _client.UnloadAsync("giant"));
        Assert.Equal("giant", idle.Model);

        await Refused<DeviceUnusableException>(
            Reasons.DeviceUnusable, _client.LoadAsync("giant", new() { Device = "gpu7" }));
        await Refused<TooLargeException>(Reasons.ReservationTooLarge, _client.ReserveAsync(9 * GiB, "card"));

        var dying = await Refused<QuarantinedException>(Reasons.ModelQuarantined, _client.LoadAsync("crash-in-load"));
        Assert.True(dying.Strikes > 1 && dying.Exit != "");
    }

    [Fact]
    public async Task What_is_loaded_otherwise_full_or_taken_is_refused_with_its_numbers()
    {
        await _client.LoadAsync("slow", new() { ContextTokens = 200 });
        var otherwise = await Refused<LoadedDifferentlyException>(
            Reasons.ModelLoadedDifferently, _client.LoadAsync("slow", new() { ContextTokens = 300 }));
        Assert.Contains("context", otherwise.Differences);

        await using (var waiting = _client.ChatAsync("endless-load", "x").GetAsyncEnumerator())
        {
            var first = waiting.MoveNextAsync().AsTask();
            await Bounds.Until("it waits for its model", async () =>
                (await _client.ModelAsync("endless-load")).Resident is { Queued: 1 });
            var full = await Refused<QueueFullException>(Reasons.QueueFull, _client.EmbedAsync("endless-load", ["x"]));
            Assert.Equal(("endless-load", 1), (full.Model, full.Limit));
            await _client.UnloadAsync("endless-load", force: true);
            await Assert.ThrowsAsync<UnloadedException>(() => first);
        }

        await _client.LoadAsync("pinned");
        var exhausted = await Refused<MemoryExhaustedException>(
            Reasons.MemoryExhausted, _client.LoadAsync("beside-pinned"));
        Assert.Equal("card", exhausted.Device);
        Assert.True(exhausted.NeededBytes >= 5 * GiB && exhausted.FreeBytes < exhausted.NeededBytes);
        Assert.Contains("pinned", exhausted.HeldBy);
    }

    [Fact]
    public async Task Tokens_that_are_none_or_for_use_only_are_refused()
    {
        await Refused<TokenRefusedException>(Reasons.TokenMissing, AsAsync("", client => client.StatusAsync()));
        await Refused<TokenRefusedException>(Reasons.TokenInvalid, AsAsync("guessed", client => client.StatusAsync()));
        var use = (await File.ReadAllTextAsync(Path.Combine(_supervisor.Folder, "token-use"))).Trim();
        var denied = await Refused<ScopeDeniedException>(
            Reasons.ScopeDenied, AsAsync(use, client => client.LoadAsync("quick")));
        Assert.NotEqual("", denied.Scope);
    }

    private static async Task<T> Refused<T>(string reason, Task call)
        where T : VramdException
    {
        var error = await Assert.ThrowsAsync<T>(() => Bounds.Until(call, $"the refusal {reason}"));
        Assert.Equal(reason, error.Reason);
        Assert.NotEqual("", error.Message);
        return error;
    }

    private async Task<T> AsAsync<T>(string token, Func<VramdClient, Task<T>> call)
    {
        await using var client = new VramdClient(new VramdEndpoint { Address = _supervisor.Address, Token = token });
        return await call(client);
    }
}
