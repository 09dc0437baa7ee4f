using System;
using System.Diagnostics;
using System.IO;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;
using Vramd.Tests.Support;
using Xunit;

namespace Vramd.Unity.Check;

/// <summary>A project of Unity in a folder of its own, with a configuration of the supervisor.</summary>
internal sealed class Game : IDisposable
{
    private const string Variable = "VRAMD_TEST_COMMAND";
    private static readonly TimeSpan Frame = TimeSpan.FromMilliseconds(33);
    private readonly DirectoryInfo _own;
    private readonly string _command;

    public Game(string configuration, bool editor = true)
    {
        _command = Environment.GetEnvironmentVariable(Variable) ?? "";
        Assert.SkipWhen(_command == "", $"{Variable} names no vramd to test against");
        // The path of a worker's socket is short, so this folder's is.
        _own = Directory.CreateTempSubdirectory("vu");
        Environment.SetEnvironmentVariable("VRAMD_STATE_DIR", Path.Combine(_own.FullName, "state"));
        Application.isEditor = editor;
        Application.platform = editor ? RuntimePlatform.LinuxEditor : RuntimePlatform.LinuxPlayer;
        Application.dataPath = Directory.CreateDirectory(Path.Combine(_own.FullName, "Assets")).FullName;
        Application.streamingAssetsPath = Directory.CreateDirectory(Path.Combine(_own.FullName, "Streaming")).FullName;
        Application.persistentDataPath = _own.FullName;
        File.WriteAllText(Path.Combine(Application.streamingAssetsPath, "vramd.toml"), configuration);
        Handlers.Own = static () => new SocketsHttpHandler();
        UnityEngine.Debug.Said.Clear();
    }

    /// <summary>What VramdSettings.asset has.</summary>
    public VramdSettings Settings(bool attachOnly = false)
    {
        var settings = ScriptableObject.CreateInstance<VramdSettings>();
        settings.attachOnly = attachOnly;
        settings.models = [];
        settings.configFile = "vramd.toml";
        settings.command = [_command];
        return settings;
    }

    /// <summary>A host in a scene, which starts its supervisor.</summary>
    public VramdHost Host(VramdSettings? settings = null) =>
        Add<VramdHost>(host => host.settings = settings ?? Settings());

    /// <summary>A component in a scene, its fields set before it wakes, as they are in Unity.</summary>
    public static T Add<T>(Action<T> fields)
        where T : MonoBehaviour, new()
    {
        var game = new GameObject(typeof(T).Name);
        game.SetActive(false);
        var component = game.AddComponent<T>();
        fields(component);
        game.SetActive(true);
        return component;
    }

    /// <summary>Plays, 30 frames a second, until the work has ended.</summary>
    public static void Play(Func<Task> work) => FrameLoop.Run(work, Frame, 3 * Bounds.Bound);

    public void Dispose()
    {
        Handlers.Own = null;
        // A supervisor that was told to end still writes its last lines.
        for (var began = Stopwatch.StartNew(); ; Thread.Sleep(Frame))
        {
            try
            {
                _own.Delete(recursive: true);
                return;
            }
            catch (IOException) when (began.Elapsed < Bounds.Bound)
            {
                // Not yet.
            }
        }
    }
}
