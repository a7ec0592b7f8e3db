"""Where the time of a train step goes: a window of its optimizer steps under torch's profiler.

The window changes no result: nothing is drawn, and nothing of it enters a key.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from genbench.steps.context import StepContext

WINDOW_STEPS = 30  #: optimizer steps that are recorded, after a few that are not
_SKIPPED_STEPS = 4
PHASES = ("data", "forward", "backward", "optimizer")
LARGEST = 5  #: operators that are named


@contextlib.contextmanager
def profiled(ctx: StepContext, label: str, stem: Path) -> Iterator[StepContext]:
    """Record a window of a training; write `STEM.trace.json` (Chrome) and `STEM.profile.json` (shares).

    Yields:
        The context to train with: asking it whether to stop, which the loop does at every step, is what moves
        the window on.
    """
    from torch.profiler import ProfilerActivity, profile, schedule

    activities = [ProfilerActivity.CPU]
    if ctx.device.startswith("cuda"):
        activities.append(ProfilerActivity.CUDA)
    window = schedule(wait=_SKIPPED_STEPS // 2, warmup=_SKIPPED_STEPS // 2, active=WINDOW_STEPS, repeat=1)
    found: list[Mapping[str, Any]] = []

    def finished(recorder: Any) -> None:
        recorder.export_chrome_trace(f"{stem}.trace.json")
        found.append(shares(recorder.key_averages(), on_gpu=len(activities) > 1))

    with profile(
        activities=activities, schedule=window, on_trace_ready=finished, acc_events=True
    ) as recorder:

        def must_stop() -> bool:
            recorder.step()
            return ctx.must_stop()

        yield replace(ctx, must_stop=must_stop)
    for result in found[:1]:
        content = json.dumps({"label": label, **result}, indent=1)
        Path(f"{stem}.profile.json").write_text(content, encoding="utf-8")


def shares(events: Any, *, on_gpu: bool) -> Mapping[str, Any]:
    """Return the share of each phase of the loop, and of the largest operators, in %."""
    phases = {one.key: one.cpu_time_total for one in events if one.key in PHASES}
    whole = sum(phases.values()) or 1.0
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    operators = {one.key: getattr(one, own) for one in events if one.key not in PHASES and "::" in one.key}
    total = sum(operators.values()) or 1.0
    largest = sorted(operators.items(), key=lambda item: -item[1])[:LARGEST]
    return {
        "phases": {name: 100 * phases.get(name, 0.0) / whole for name in PHASES},
        "operators": {name: 100 * value / total for name, value in largest},
        "of": "device time" if on_gpu else "CPU time",
    }
