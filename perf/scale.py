"""How far one main process goes: `python perf/scale.py` (about three minutes on a core).

Plans a real suite and hands it to the walk that every run takes (`genbench.walk`), with 1 to 1,000 simulated
workers. Nothing is computed: a step takes the seconds that are stated here or, with `--costs STORE`, the mean
of what steps of its stage took in that store, each a little more or less. The clock is virtual, but what the
main process does between two events is done in earnest: its CPU time, pickling of what it hands out included,
is measured and charged to that clock, so that workers idle while it thinks.

`--store memory` (the default) answers at once: what is measured is the walk alone. `--store folder` takes
leases and opens artifacts of a real store in a temporary folder; what workers would do there is not charged.
Every row has a process of its own. Times are CPU times of one run each on whatever machine this is, unpaired:
their order of magnitude says something, their last digit does not.
"""

import argparse
import csv
import heapq
import json
import os
import pickle
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _timing import verdict

from genbench.artifacts import CARD
from genbench.digest import file_digest
from genbench.executors import Event, Executor, Task
from genbench.holders import Holder
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.spec import resolve_suite
from genbench.store import Artifact, Store
from genbench.suite import make_suite
from genbench.walk import Observer, Walk
from genbench.worker import RunOptions

#: Seconds of a step, by stage, on a CPU at `quick`: only their proportions are those of a real run.
STATED = {
    "dataset": 1.0, "fit": 30.0, "sample": 5.0, "filter": 1.0,
    "train": 10.0, "predict": 0.2, "embed": 0.2, "evaluate": 0.1,
}  # fmt: skip
SPREAD = (
    0.1  #: of a step's seconds, up and down, from the first digits of its key; as of `fit` in our records
)
BUNDLE = 8  #: trainings of a bundle, which take twice as long as one (`perf/seeds.py`)
STEPS_PER_SEED = 362  #: of the suite below; a few of each dataset come on top
SIZES, WORKERS = (1_000, 4_000, 16_000), (1, 10, 100, 1_000)
LEAST_UTILISATION, MOST_MILLISECONDS = 0.90, 0.1  #: of 16,000 steps on 1,000 workers; of a step, anywhere


@dataclass(frozen=True)
class Setting:
    """What one row of the table is about."""

    steps: int
    workers: int
    is_bundled: bool = False
    store: str = "memory"
    costs: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Row:
    """What was found.

    Attributes:
        steps: Of the plan.
        workers: That were simulated.
        store: `memory`, or `folder`.
        bundled: Whether trainings on several seeds run together.
        utilisation: Share of the workers' time in which they had a step.
        uncharged: The same, had the main process taken no time: what the plan allows. 0 where nobody looked.
        walk_ms: CPU milliseconds of the walk for each step, without pickling; in memory, the less of two.
        pickle_ms: Of pickling what is handed to a worker.
        plan_ms: Of planning a step.
        peak_mib: Most memory that the main process had.
        operations: That were asked of the store, for each step.
        per_second: The same, for each second of the run.
        hours: That the run takes, on the virtual clock.
    """

    steps: int
    workers: int
    store: str
    bundled: bool
    utilisation: float
    uncharged: float
    walk_ms: float
    pickle_ms: float
    plan_ms: float
    peak_mib: float
    operations: float
    per_second: float
    hours: float


def suite_plan(steps: int, registry: Registry) -> Plan:
    """Plan about so many steps: generators that are fitted and others, on as many seeds as it takes."""
    fitted = [f"ddpm:timesteps={100 + 10 * number}" for number in range(10)]
    frozen = [f"classical:randaugment,randaugment_magnitude={1 + number}" for number in range(10)]
    entries = {
        "datasets": ["digits"],
        "generators": [*fitted, *frozen],
        "classifiers": ["cnn", "mlp", "resnet32", "vit"],
        "evaluators": ["accuracy", "fid", "mmd"],
        "seeds": max(1, round(steps / STEPS_PER_SEED)),
    }
    return make_plan(resolve_suite(registry, make_suite(entries, "perf/scale.py"), file_digest))


class Clock:
    """Virtual seconds, and where the CPU time of the main process went."""

    def __init__(self, *, is_charged: bool) -> None:
        self.now = 0.0
        self.thought = self.pickled = 0.0
        self._is_charged = is_charged
        self._since = time.thread_time()

    def leave(self) -> None:
        """The main process thinks from now on."""
        self._since = time.thread_time()

    def enter(self) -> None:
        """It asks the executor: what it thought since is charged."""
        taken = time.thread_time() - self._since
        self.thought += taken
        self.now += taken if self._is_charged else 0.0

    def pickle(self, payload: Any) -> None:
        """Charge what every engine does before a task leaves this process."""
        began = time.thread_time()
        pickle.dumps(payload)
        taken = time.thread_time() - began
        self.pickled += taken
        self.now += taken if self._is_charged else 0.0


class SimulatedExecutor(Executor):
    """Workers that take as long as is stated, on a virtual clock."""

    def __init__(
        self, clock: Clock, workers: int, cost: Callable[[str], float], finish: Callable[[str], None]
    ) -> None:
        self._clock, self._workers, self._cost, self._finish = clock, workers, cost, finish
        self._running: list[tuple[float, int, tuple[str, ...]]] = []  # a heap of ends
        self._count = 0
        self.busy = 0.0

    @property
    def free(self) -> int:
        """Idle workers."""
        return self._workers - len(self._running)

    def submit(self, bundle: Sequence[Task]) -> None:
        """Note when a bundle will be done; all of its tasks are done together."""
        self._clock.enter()
        self._clock.pickle(list(bundle))
        seconds = max(self._cost(task.id) for task in bundle) * (1 + (len(bundle) - 1) / (BUNDLE - 1))
        self._count += 1
        heapq.heappush(self._running, (self._clock.now + seconds, self._count, tuple(t.id for t in bundle)))
        self.busy += seconds
        self._clock.leave()

    def events(self, timeout_seconds: float) -> Sequence[Event]:
        """Turn the clock to the next end, however long that takes, and return all that ended by then."""
        self._clock.enter()
        found: list[Event] = []
        if self._running:
            self._clock.now = max(self._clock.now, self._running[0][0])
        else:
            self._clock.now += timeout_seconds
        while self._running and self._running[0][0] <= self._clock.now:
            for key in heapq.heappop(self._running)[2]:
                self._finish(key)
                found += [Event(key, "started"), Event(key, "done", seconds=1.0)]
        self._clock.leave()
        return found

    def cancel(self, task_id: str) -> None:
        """Nobody asks for that."""

    def stop(self, grace_seconds: float) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing to end."""


# -------------------------------------------------------------------------------------------------- stores


class Counted:
    """An object whose calls are counted by name; attributes that are no methods are handed on."""

    def __init__(self, inner: Any, calls: Counter[str], prefix: str = "") -> None:
        self._inner, self._calls, self._prefix = inner, calls, prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "leases":
            return Counted(found, self._calls, "leases.")
        if not callable(found) or name == "take_lost":  # which asks nothing of a store
            return found
        self._calls[self._prefix + name] += 1
        return found


class MemoryStore:
    """What the walk asks of a store, answered from memory; a dataset's facts alone are in a file."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.leases = self
        self._done: dict[str, Artifact] = {}

    def put(self, key: str) -> None:
        """Note that a step is done."""
        self._done[key] = Artifact(self.root, {}, {}, {})

    def has(self, key: str) -> bool:
        """Whether it is done."""
        return key in self._done

    def open(self, key: str) -> Artifact | None:
        """Return something, if it is done."""
        return self._done.get(key)

    def listed(self) -> AbstractContextManager[None]:
        """There is nothing to look up."""
        return nullcontext()

    def acquire(self, key: str) -> bool:
        """Nobody else is there."""
        return True

    def release(self, key: str) -> None:
        """Nothing to give back."""

    def holder(self, key: str) -> Holder | None:
        """Nobody."""
        return None

    def take_lost(self) -> Sequence[str]:
        """Nobody took anything."""
        return ()


@contextmanager
def store_of(kind: str, plan: Plan, calls: Counter[str]) -> Iterator[tuple[Any, Callable[[str], None]]]:
    """Yield a store whose calls are counted, and what a worker does there when it is done."""
    card = {"splits": {"train": 1000}, "image_shape": [3, 32, 32], "class_names": [f"{n}" for n in range(10)]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "memory":
            (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
            memory = MemoryStore(folder)
            yield Counted(memory, calls), memory.put
            return
        store = Store(folder)

        def put(key: str) -> None:
            def fill(place: Path) -> Mapping[str, Any]:
                (place / CARD).write_text(json.dumps(card), encoding="utf-8")
                return {"seconds": 1.0}

            store.put(key, plan.steps[key].document, fill)

        with store.leases.beating():
            yield Counted(store, calls), put


# --------------------------------------------------------------------------------------------- measurement


def measure(setting: Setting) -> Row:
    """Walk once with scheduling charged and once without, and return a row of the table."""
    registry = Registry()
    began = time.process_time()
    plan = suite_plan(setting.steps, registry)
    planned = time.process_time() - began
    steps = len(plan.steps)
    clock, executor, calls = walked(plan, registry, setting, is_charged=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    uncharged, thought, pickled = 0.0, clock.thought, clock.pickled
    if setting.store == "memory":
        free, idle = walked(plan, registry, setting, is_charged=False)[:2]
        uncharged = idle.busy / free.now / setting.workers
        # What else the machine did while this ran is no part of it: the less disturbed of two walks counts.
        thought, pickled = min(thought, free.thought), min(pickled, free.pickled)
    return Row(
        steps=steps,
        workers=setting.workers,
        store=setting.store,
        bundled=setting.is_bundled,
        utilisation=executor.busy / clock.now / setting.workers,
        uncharged=uncharged,
        walk_ms=1e3 * thought / steps,
        pickle_ms=1e3 * pickled / steps,
        plan_ms=1e3 * planned / steps,
        peak_mib=peak,
        operations=sum(calls.values()) / steps,
        per_second=sum(calls.values()) / clock.now,
        hours=clock.now / 3600,
    )


def walked(
    plan: Plan, registry: Registry, setting: Setting, *, is_charged: bool
) -> tuple[Clock, SimulatedExecutor, Counter[str]]:
    """Walk a plan from an empty store."""
    calls: Counter[str] = Counter()
    costs = setting.costs or STATED

    def cost(key: str) -> float:
        share = int(key[:8], 16) / 16**8
        return costs[plan.steps[key].stage] * (1 + SPREAD * (2 * share - 1))

    options = RunOptions(jobs=setting.workers, vectorize="on" if setting.is_bundled else "off")
    with store_of(setting.store, plan, calls) as (store, finish):
        clock = Clock(is_charged=is_charged)
        executor = SimulatedExecutor(clock, setting.workers, cost, finish)
        clock.leave()
        walk = Walk(plan, store, registry, Observer(), options)
        walk.go(executor)
    assert walk.summary.ran == len(plan.steps)
    assert not walk.summary.failed
    return clock, executor, calls


def recorded(store: Path) -> dict[str, float]:
    """Return what a step of each stage took in a store, in the mean; what is stated where it has none."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for line in Store(store).index.lines():
        if isinstance(line.get("seconds"), int | float):
            seconds[str(line.get("stage"))].append(float(line["seconds"]))
    return {
        stage: sum(found) / len(found) if (found := seconds[stage]) else one for stage, one in STATED.items()
    }


# ----------------------------------------------------------------------------------------------- what it says


def table(rows: Sequence[Row]) -> str:
    """Write rows as a Markdown table."""
    head = "| steps | workers | bundled | utilisation | uncharged | ms a step: walk | pickling | planning |"
    head += " MiB | store operations: a step | a second |"
    lines = [head, "|" + " ---: |" * (head.count("|") - 1)]
    for row in rows:
        cells = (f"{row.steps:,}", f"{row.workers:,}", "yes" if row.bundled else "no")
        cells += (f"{row.utilisation:.3f}", f"{row.uncharged:.3f}" if row.uncharged else "-")
        cells += (f"{row.walk_ms:.3f}", f"{row.pickle_ms:.3f}", f"{row.plan_ms:.3f}", f"{row.peak_mib:.0f}")
        cells += (f"{row.operations:.1f}", f"{row.per_second:,.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw utilisation and time per step over the number of workers, one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    lines: dict[tuple[int, bool], list[Row]] = defaultdict(list)
    for row in rows:
        lines[row.steps, row.bundled].append(row)
    styles = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
    for number, ((steps, is_bundled), found) in enumerate(lines.items()):
        marker, dash = styles[number % len(styles)]
        label = f"{steps:,} steps" + (", bundled" if is_bundled else "")
        look = {
            "marker": marker,
            "linestyle": dash,
            "color": f"{0.6 * number / len(lines):.2f}",
            "markersize": 5,
        }
        workers = [row.workers for row in found]
        above.plot(workers, [100 * row.utilisation for row in found], label=label, **look)
        below.plot(workers, [row.walk_ms for row in found], label=label, **look)
    above.axhline(100 * LEAST_UTILISATION, color="0.5", linewidth=0.8)
    above.set(ylabel="utilisation of the workers (%)", ylim=(0, 104), xscale="log")
    below.axhline(MOST_MILLISECONDS, color="0.5", linewidth=0.8)
    most = max(MOST_MILLISECONDS, *(row.walk_ms for row in rows))
    below.set(ylabel="walk, CPU ms a step", xlabel="simulated workers", ylim=(0, 1.15 * most))
    below.set_xticks(ticks := sorted({row.workers for row in rows}), [f"{number:,}" for number in ticks])
    below.minorticks_off()
    above.legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(path, dpi=150)


def settings_of(options: argparse.Namespace) -> list[Setting]:
    """Return a setting for every size and number of workers, the largest size bundled, too."""
    costs = recorded(options.costs) if options.costs else None
    about = [(size, False) for size in options.steps] + [(max(options.steps), True)]
    return [
        Setting(size, workers, is_bundled, options.store, costs)
        for size, is_bundled in about
        for workers in options.workers
    ]


def main() -> None:
    """Print a table and two verdicts; exit with 1 if one is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=SIZES, help="sizes of plans, roughly")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, help="simulated workers")
    parser.add_argument("--store", choices=("memory", "folder"), default="memory", help="what is asked")
    parser.add_argument("--costs", type=Path, metavar="STORE", help="seconds by stage, from what ran there")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="for scale.csv and scale.png")
    options = parser.parse_args()
    rows = []
    # A process for every row, so that the memory is its own.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for row in pool.map(measure, settings_of(options)):
            rows.append(row)
            print(f"{row.steps:,} steps, {row.workers:,} workers: {row.utilisation:.3f}", file=sys.stderr)
    load = f"; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"store: {options.store}; CPU times of one run each, unpaired{load}\n\n{table(rows)}\n")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        with (options.output / "scale.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])), lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
        draw(rows, options.output / "scale.png")
        print(f"written: {options.output}/scale.csv, scale.png")
    title = "CPU ms a step, at most"
    reached = [verdict(title, max(row.walk_ms for row in rows), MOST_MILLISECONDS, at_least=False, unit="ms")]
    largest = [row for row in rows if row.steps > 15_000 and row.workers == 1_000 and not row.bundled]
    for row in largest:
        title = f"utilisation, {row.steps:,} steps on {row.workers:,} workers"
        reached.append(verdict(title, row.utilisation, LEAST_UTILISATION, at_least=True, unit=""))
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
