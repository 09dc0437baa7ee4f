#nullable enable
using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using UnityEditor;
using UnityEngine;

namespace Vramd.Unity.Editor
{
    /// <summary>Shows the supervisor of this project: its models, devices, decisions and log.</summary>
    internal sealed class VramdWindow : EditorWindow
    {
        private const int LookEveryMilliseconds = 1000;
        private const int LogLines = 200;
        private const int Decisions = 50;
        private static readonly string[] s_pages = { "Models", "Devices", "Decisions", "Log" };

        private CancellationTokenSource? _open;
        private int _page;
        private Vector2 _scroll;
        private string _said = "not running";
        private bool _runs;
        private IReadOnlyList<Model> _models = Array.Empty<Model>();
        private IReadOnlyList<ResidentModel> _resident = Array.Empty<ResidentModel>();
        private IReadOnlyList<Device> _devices = Array.Empty<Device>();
        private IReadOnlyList<Decision> _decisions = Array.Empty<Decision>();
        private IReadOnlyList<string> _log = Array.Empty<string>();

        [MenuItem("Window/vramd")]
        private static void Open() => GetWindow<VramdWindow>("vramd");

        private void OnEnable()
        {
            _open = new CancellationTokenSource();
            _ = LookAsync(_open.Token);
        }

        private void OnDisable() => _open?.Cancel();

        private async Task LookAsync(CancellationToken open)
        {
            while (!open.IsCancellationRequested)
            {
                try
                {
                    await LookOnceAsync(open);
                    await Task.Delay(LookEveryMilliseconds, open);
                }
                catch (OperationCanceledException) when (open.IsCancellationRequested)
                {
                    return;
                }
            }
        }

        private async Task LookOnceAsync(CancellationToken open)
        {
            try
            {
                var client = EditorSupervisor.Find();
                if (client == null)
                {
                    (_runs, _said) = (false, "not running");
                }
                else
                {
                    var status = await client.StatusAsync(cancellationToken: open);
                    (_devices, _resident) = (status.Devices, status.Models);
                    switch (_page)
                    {
                        case 0:
                            _models = await client.ModelsAsync(cancellationToken: open);
                            break;
                        case 2:
                            _decisions = await client.DecisionsAsync(limit: Decisions, cancellationToken: open);
                            break;
                        case 3:
                            _log = await LogAsync(client, open);
                            break;
                    }
                    (_runs, _said) = (true, $"{status.Supervisor.Address}, process {status.Supervisor.ProcessId}");
                }
            }
            catch (VramdException error)
            {
                EditorSupervisor.Forget();
                (_runs, _said) = (false, EditorSupervisor.Explain(error));
            }
            Repaint();
        }

        private static async Task<IReadOnlyList<string>> LogAsync(VramdClient client, CancellationToken open)
        {
            var lines = new List<string>();
            await foreach (var line in client.LogsAsync(lines: LogLines, follow: false, cancellationToken: open))
            {
                lines.Add(line);
            }
            return lines;
        }

        private void OnGUI()
        {
            EditorGUILayout.BeginHorizontal(EditorStyles.toolbar);
            GUILayout.Label(_said, EditorStyles.miniLabel);
            GUILayout.FlexibleSpace();
            if (GUILayout.Button(_runs ? "Stop" : "Start", EditorStyles.toolbarButton))
            {
                Do(_runs ? EditorSupervisor.StopAsync() : EditorSupervisor.StartAsync());
            }
            EditorGUILayout.EndHorizontal();
            _page = GUILayout.Toolbar(_page, s_pages);
            _scroll = EditorGUILayout.BeginScrollView(_scroll);
            if (_runs)
            {
                switch (_page)
                {
                    case 0:
                        ShowModels();
                        break;
                    case 1:
                        ShowDevices();
                        break;
                    case 2:
                        ShowDecisions();
                        break;
                    default:
                        EditorGUILayout.SelectableLabel(
                            string.Join("\n", _log), EditorStyles.textArea, GUILayout.ExpandHeight(true));
                        break;
                }
            }
            EditorGUILayout.EndScrollView();
        }

        private void ShowModels()
        {
            var client = EditorSupervisor.Find();
            if (client == null)
            {
                return;
            }
            foreach (var model in _models)
            {
                var resident = _resident.FirstOrDefault(one => one.Model == model.Id);
                EditorGUILayout.BeginHorizontal();
                EditorGUILayout.LabelField(model.Id, Describe(model, resident));
                if (resident == null)
                {
                    if (GUILayout.Button("Load", GUILayout.Width(60)))
                    {
                        Do(client.LoadAsync(model.Id));
                    }
                }
                else if (GUILayout.Button("Unload", GUILayout.Width(60)))
                {
                    Do(client.UnloadAsync(model.Id));
                }
                if (GUILayout.Button(model.Pinned ? "Unpin" : "Pin", GUILayout.Width(60)))
                {
                    Do(client.UpdateAsync(model.Id, pinned: !model.Pinned));
                }
                EditorGUILayout.EndHorizontal();
            }
        }

        private static string Describe(Model model, ResidentModel? resident) =>
            resident == null
                ? string.IsNullOrEmpty(model.Problem) ? model.State.ToString() : model.Problem!
                : $"{resident.State}, {Size(resident.ReservedBytes)}, {resident.InFlight} at work, " +
                    $"{resident.Queued} waiting";

        private void ShowDevices()
        {
            foreach (var device in _devices)
            {
                var taken = device.ReservedBytes + device.ExternalBytes;
                var share = device.TotalBytes > 0 ? (float)taken / device.TotalBytes : 0;
                var text = $"{device.Id}: models {Size(device.ReservedBytes)}, others {Size(device.ExternalBytes)}, " +
                    $"free {Size(device.FreeBytes)} of {Size(device.TotalBytes)}";
                EditorGUI.ProgressBar(EditorGUILayout.GetControlRect(), share, text);
                if (!string.IsNullOrEmpty(device.Unusable))
                {
                    EditorGUILayout.HelpBox(device.Unusable, MessageType.Warning);
                }
            }
        }

        private void ShowDecisions()
        {
            foreach (var decision in _decisions)
            {
                EditorGUILayout.LabelField(
                    $"{decision.Time.LocalDateTime:T}", $"{decision.Kind} {decision.Model}: {decision.Cause}");
            }
        }

        private static async void Do(Task work)
        {
            try
            {
                await work;
            }
            catch (Exception error)
            {
                Debug.LogWarning("vramd: " + error.Message);
            }
        }

        private static string Size(long bytes) => $"{bytes / (double)(1 << 30):0.0} GiB";
    }
}
