"""Twenty clients and a fault every few seconds: what is hit fails as it may, nothing else, and nothing is left behind.

    python tests/soak.py --minutes N [--seed S] [--plant descriptors|memory]

One table at the end. The exit code is 1 if a bar is missed. `--plant` plants a leak in the supervisor, a descriptor per
ended process or ten kilobytes per answer, with which it has to be.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import vramd

sys.path.insert(0, str(Path(__file__).parent))

from support.insight import Insight, Leaks
from support.soak import models
from support.soak.faults import Crew, Injector, Window
from support.soak.judge import SETTLES_S, judge, unfed
from support.soak.report import Bar, Report
from support.soak.requests import read
from support.soak.resources import AtRest, Watch, alive, at_rest, zombies
from support.supervisor_process import BOUND_S, Story, SupervisorProcess
from vramd_supervisor.services.event_log import REMEMBERED

PROCESSES, CLIENTS_EACH = 5, 4
DEADLINE_S = 60.0
"""Of a request whose deadline is not the point."""
FED_WITHIN_S = 20.0
GONE_WITHIN_S = 1.0
BYTES_PER_ANSWER = 10_000
ONCE_BYTES, EVENT_BYTES, REQUEST_BYTES = 4_000_000, 2_000, 200
"""The bytes that may stay: of what is done for the first time, of each event that is remembered, of each request."""
PLANTS = {
    None: Leaks(),
    "descriptors": Leaks(descriptor_per_exit=True),
    "memory": Leaks({"supervisor": BYTES_PER_ANSWER}),
}


def soak(minutes: float, seed: int, leaks: Leaks) -> Report:
    with tempfile.TemporaryDirectory(prefix="soak") as name, Insight(leaks) as insight:
        folder = Path(name)
        with SupervisorProcess(models.configuration(folder), environment=insight.environment) as supervisor:
            client = supervisor.client()
            texts = warm_up(client)
            before = at_rest(supervisor, client, insight)
            until_s = time.time() + 60 * minutes
            plan = {
                "runtime_dir": str(supervisor.folder.path),
                "folder": str(folder),
                "seed": seed,
                "clients_each": CLIENTS_EACH,
                "until_s": until_s,
                "deadline_s": DEADLINE_S,
                "texts": texts,
            }
            (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
            with supervisor.news() as story, Watch(supervisor, client, insight) as watch:
                crew = Crew(folder / "plan.json", PROCESSES)
                injector = Injector(supervisor.address.address, client, supervisor.configuration, crew, folder, seed)
                injector.run(until_s)
                late = crew.end(DEADLINE_S + BOUND_S)
            running = sum(one.in_flight + one.queued for one in client.resident())
            after = at_rest(supervisor, client, insight)
            requests = read(folder)
            verdict = judge(requests, injector.windows, crew.killed)
            report = Report(
                f"soak of {minutes:g} min, seed {seed}: {len(requests)} requests "
                f"({len(requests) / 60 / minutes:.1f} per second), {len(injector.windows)} faults",
                verdict,
                injector.windows,
                detections(injector.windows, story),
                counts(story) | {"resumes": sum(one.resumes for one in requests)},
            )
            report.notes += [f"not healthy: {when}" for when in injector.unhealthy]
            report.bars += [
                Bar("requests unaccounted for", len(verdict.unaccounted) + len(late), 0),
                Bar("requests that run or wait when all have ended", running, 0),
                Bar("failures that their fault does not explain", len(verdict.unexpected), 0),
                Bar("failures on models that no fault had touched", len(verdict.untouched), 0),
                Bar(
                    "faults without answers before and behind them",
                    len(unfed(injector.windows, requests, FED_WITHIN_S)),
                    0,
                ),
                Bar("times that it did not say that it serves", len(injector.unhealthy), 0),
                Bar("faults that ended otherwise than they may", sum(not one.recovered for one in injector.windows), 0),
                Bar("lost processes that it did not notice in time", unnoticed(report), 0),
                Bar("processes taken for hung that were not", taken_for_hung(injector.windows, story), 0),
                Bar("devices beyond their budget", len(watch.over_budget), 0),
                *resources(
                    before,
                    after,
                    len(story.events),
                    watch.bytes_in_use,
                    [one.ended_s for one in requests if one.ended_s is not None],
                ),
                Bar("zombies", len(zombies(supervisor)), 0),
                Bar("processes that outlive a kill of the supervisor", outliving(supervisor, client), 0),
            ]
        report.bars.append(Bar("processes left behind", len(alive(list(watch.seen))), 0))
        return report


def warm_up(client: vramd.Client) -> dict[str, str]:
    """Has every model answer once; returns what the models of llama.cpp say."""
    for model in models.SIMULATED:
        assert client.generate(model, "x", seed=1, max_tokens=3).text == models.simulated_text(1, 3)
    return {model: client.generate(model, "x", temperature=0).text for model in models.RECITING}


def detections(windows: list[Window], story: Story) -> list[tuple[Window, float]]:
    """The faults that ended a process, and the seconds until the supervisor said so."""
    found = []
    for window in windows:
        moments = [
            event.time_s
            for event in story.events
            if isinstance(event.detail, vramd.ModelChanged)
            and event.detail.model in window.models
            and window.began_s <= event.time_s <= window.ended_s
        ]
        if window.noticed_within_s and moments:
            found.append((window, min(moments) - window.began_s))
    return found


def unnoticed(report: Report) -> int:
    noticed = [
        window
        for window, after_s in report.detected_s
        if window.noticed_within_s and after_s <= window.noticed_within_s
    ]
    return sum(window.noticed_within_s is not None for window in report.windows) - len(noticed)


def taken_for_hung(windows: list[Window], story: Story) -> int:
    """Ends of processes as hung outside of the windows in which they were stopped, or were to hang."""
    count = 0
    for event in story.events:
        change = event.detail
        if isinstance(change, vramd.ModelChanged) and change.cause == "hung":
            stopped = [one for one in windows if one.fault == "SIGSTOP" and change.model in one.models]
            meant = any(one.began_s <= event.time_s <= one.ended_s + SETTLES_S for one in stopped)
            count += not meant and change.model not in models.FAULTY
    return count


def counts(story: Story) -> dict[str, int]:
    states = Counter(change.after for change in story.details(vramd.ModelChanged))
    named = {"loads": "LOADING", "ready": "READY", "pauses": "BACKOFF", "quarantines": "QUARANTINED"}
    counted = {name: states[state] for name, state in named.items()}
    return {"events": len(story.events), **counted, "evictions": len(story.details(vramd.Evicted))}


def resources(
    before: AtRest, after: AtRest, events: int, samples: list[tuple[float, int]], ends_s: list[float]
) -> list[Bar]:
    made = np.searchsorted(sorted(ends_s), [moment for moment, _ in samples])
    settled = len(samples) // 5
    slope = float(np.polyfit(made[settled:], [size for _, size in samples[settled:]], 1)[0])
    drift = max(abs(after.reserved[device] - before.reserved[device]) for device in before.reserved if device != "host")
    may_grow = ONCE_BYTES + EVENT_BYTES * min(events, REMEMBERED) + REQUEST_BYTES * len(ends_s)
    return [
        Bar("descriptors more than before", after.descriptors - before.descriptors, 2),
        Bar("threads more than before", after.threads - before.threads, 2),
        Bar("bytes promised more or fewer than before", drift, 0),
        Bar("memory at rest, more than before", (after.bytes_in_use - before.bytes_in_use) / 1e6, may_grow / 1e6, "MB"),
        Bar("memory while it ran, slope per request", slope, math.inf, "B"),
    ]


def outliving(supervisor: SupervisorProcess, client: vramd.Client) -> int:
    """Kills it with all models at work; counts the processes that are there a second later."""
    for model in models.SERVING:
        client.reset(model)
        client.load(model)
    workers = supervisor.workers()
    supervisor.process.kill()
    supervisor.process.wait()
    end_s = time.monotonic() + GONE_WITHIN_S
    while alive(workers) and time.monotonic() < end_s:
        time.sleep(0.01)
    return len(alive(workers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", choices=[plant for plant in PLANTS if plant])
    given = parser.parse_args()
    report = soak(given.minutes, given.seed, PLANTS[given.plant])
    print("\n".join(report.lines()))
    sys.exit(not report.holds)


if __name__ == "__main__":
    main()
