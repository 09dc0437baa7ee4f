using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading.Tasks;
using UnityEngine;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Unity.Check;

// There is one main thread.
[Collection("frames")]
public sealed class HostTests
{
    private static readonly string s_models = Configuration.Card + Configuration.Simulated("talker");

    [Fact]
    public void The_editors_supervisor_and_its_models_outlive_a_reload_of_the_code()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host();
            var client = await host.ClientAsync();
            var before = (await client.LoadAsync("talker")).ProcessId;
            Assert.Equal(VramdStatus.Ready, host.Status);
            // What beforeAssemblyReload does; then every object is gone.
            VramdHost.CloseAll();
            await Assert.ThrowsAnyAsync<VramdException>(() => client.StatusAsync());
            UnityEngine.Object.Destroy(host.gameObject);
            host = game.Host();
            client = await host.ClientAsync();
            Assert.Equal(before, (await client.LoadAsync("talker")).ProcessId);
            var supervisor = Process.GetProcessById((await client.StatusAsync()).Supervisor.ProcessId);
            await host.StopAsync();
            await Bounds.Until(supervisor.WaitForExitAsync(), "the supervisor has ended");
            Assert.Equal(VramdStatus.Stopped, host.Status);
        });
    }

    [Fact]
    public void A_players_supervisor_ends_when_it_quits()
    {
        using var game = new Game(s_models, editor: false);
        Game.Play(async () =>
        {
            var said = new List<string>();
            var host = game.Host();
            host.onStatus.AddListener(said.Add);
            var client = await host.ClientAsync();
            var supervisor = Process.GetProcessById((await client.StatusAsync()).Supervisor.ProcessId);
            Application.Quit();
            await Bounds.Until(supervisor.WaitForExitAsync(), "the supervisor has ended");
            Assert.Contains(said, one => one.StartsWith("Ready: 127.0.0.1:", StringComparison.Ordinal));
            Assert.Equal("Stopped", said[^1]);
        });
    }

    [Fact]
    public void One_that_dies_is_told_and_replaced_at_the_next_call()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host();
            var first = (await (await host.ClientAsync()).StatusAsync()).Supervisor.ProcessId;
            Process.GetProcessById(first).Kill();
            await Bounds.Until("the host says that it failed", () => host.Status == VramdStatus.Failed);
            var second = (await (await host.ClientAsync()).StatusAsync()).Supervisor.ProcessId;
            Assert.NotEqual(first, second);
            await host.StopAsync();
        });
    }

    [Fact]
    public void A_chat_that_is_disabled_starts_none()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = Game.Add<VramdHost>(host => (host.settings, host.startAtOnce) = (game.Settings(), false));
            var chat = Game.Add<VramdChat>(chat => (chat.host, chat.model) = (host, "talker"));
            chat.enabled = false;
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => chat.ChatAsync("x"));
            Assert.Equal(VramdStatus.Stopped, host.Status);
        });
    }

    [Fact]
    public void One_that_cannot_be_found_or_started_is_a_warning_and_an_exception()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var host = game.Host(game.Settings(attachOnly: true));
            await Assert.ThrowsAsync<SupervisorNotFoundException>(() => host.ClientAsync());
            Assert.Equal(VramdStatus.Failed, host.Status);
            await Bounds.Until("a warning", () => UnityEngine.Debug.Said.Any(one => one.StartsWith("warning: vramd:")));
            var settings = game.Settings();
            settings.command = ["/no/such/vramd"];
            var other = game.Host(settings);
            var error = await Assert.ThrowsAsync<StartFailedException>(() => other.ClientAsync());
            Assert.Contains("/no/such/vramd", error.Message);
        });
    }

    [Fact]
    public void Memory_for_the_renderer_is_reserved_once_for_each_game()
    {
        using var game = new Game(s_models);
        Game.Play(async () =>
        {
            var settings = game.Settings();
            (settings.reservedMebibytes, settings.reservedDevice) = (1024, "card");
            for (var life = 0; life < 2; life++)
            {
                var host = game.Host(settings);
                var reserved = await (await host.ClientAsync()).ReservationsAsync();
                var one = Assert.Single(reserved);
                Assert.Equal((1L << 30, "card", Application.productName), (one.SizeBytes, one.Device, one.Label));
                if (life == 1)
                {
                    await host.StopAsync();
                }
                UnityEngine.Object.Destroy(host.gameObject);
            }
        });
    }
}
