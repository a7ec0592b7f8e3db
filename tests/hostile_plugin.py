"""A single-file plugin that does what no plugin should: what tests/faults/plugins.py is tried with.

`GENBENCH_HOSTILE_IMPORT` names what goes wrong when the module is imported, and where.
"""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import nn

import genbench
from genbench.images import LabelledImages
from genbench.protocols import (
    Classifier,
    ClassifierConfig,
    Evaluation,
    EvaluatorConfig,
    Generator,
    GeneratorConfig,
    Metric,
    PredictionEvaluator,
    RunContext,
    SampleRequest,
    SyntheticBatch,
    TrainRecipe,
)

_AT_IMPORT = os.environ.get("GENBENCH_HOSTILE_IMPORT", "")
_IN_MAIN = "multiprocessing.spawn" not in sys.modules and "multiprocessing.forkserver" not in sys.modules


class HostileConfig(GeneratorConfig):
    """Copies of train, and one misdeed."""

    deed: str = Field(default="none", description="what it does in fit")
    place: str = Field(default="", description="a file or folder that it looks for")

    @field_validator("deed")
    @classmethod
    def _raises(cls, value: str) -> str:
        if value == "validator":
            raise RuntimeError("a validator broke")
        if value == "validator-exit":
            sys.exit(0)
        return value


class Hostile(Generator):
    def __init__(self, config: HostileConfig) -> None:
        self._config = config

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        DEEDS[self._config.deed](self._config.place, ctx)

    def save(self, folder: Path) -> None:
        (folder / "nothing.txt").write_text("nothing")
        if self._config.deed == "symlink":
            (folder / "link.npy").symlink_to(self._config.place or "/etc/passwd")
        if self._config.deed == "hard link":
            (folder / "own.txt").write_text("x")
            (folder / "twin.txt").hardlink_to(folder / "own.txt")
        if self._config.deed == "fifo":
            os.mkfifo(folder / "pipe")

    def load(self, folder: Path) -> None:
        pass

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        images = request.train.batch(request.source_indices)
        while self._config.deed == "empty":
            yield SyntheticBatch(images[:0], request.labels[:0], request.source_indices[:0])
        yield SyntheticBatch(images, request.labels, request.source_indices)


def _nothing(place: str, ctx: RunContext) -> None:
    pass


def _relu(place: str, ctx: RunContext) -> None:
    torch.relu = torch.sigmoid
    nn.functional.relu = torch.sigmoid  # type: ignore[assignment]
    nn.ReLU.forward = lambda self, x: torch.sigmoid(x)  # type: ignore[method-assign]


def _numpy(place: str, ctx: RunContext) -> None:
    np.mean = np.median  # type: ignore[assignment]
    np.seterr(all="raise")


def _seeds(place: str, ctx: RunContext) -> None:
    def forever() -> None:
        while True:
            torch.manual_seed(0)
            time.sleep(0.001)

    threading.Thread(target=forever, daemon=True).start()


def _environment(place: str, ctx: RunContext) -> None:
    os.environ["GENBENCH_RESIDENT_MIB"] = "0"
    os.environ.pop("PATH", None)
    os.chdir("/")


def _harness(place: str, ctx: RunContext) -> None:
    from genbench_evaluators import accuracy

    stages = sys.modules["genbench.steps.stages"].STAGES  # type: ignore[attr-defined]
    stages["predict"] = lambda job: None
    accuracy.Accuracy.evaluate = lambda *a, **k: Evaluation([Metric("top1", 99.82, split="test")])  # type: ignore[method-assign]


def _children(place: str, ctx: RunContext) -> None:
    subprocess.Popen(["sleep", place], start_new_session=True)
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            os.execvp("sleep", ["sleep", place])
        os._exit(0)


def _threads(place: str, ctx: RunContext) -> None:
    threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()


def _signals(place: str, ctx: RunContext) -> None:
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(one, signal.SIG_IGN)


def _close_files(place: str, ctx: RunContext) -> None:
    os.closerange(0, 256)


def _memory(place: str, ctx: RunContext) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
    held = [bytearray(1 << 30) for _ in range(64)]
    raise AssertionError(len(held))


def _noise(place: str, ctx: RunContext) -> None:
    for _ in range(100):
        sys.stdout.write("x" * (1 << 20) + "\n")
        ctx.log.info("y" * 1000)


def _message(place: str, ctx: RunContext) -> None:
    raise RuntimeError("z" * 10_000_000)


def _store_error(place: str, ctx: RunContext) -> None:
    raise FileExistsError(17, "File exists", str(ctx.work))


def _disk_full(place: str, ctx: RunContext) -> None:
    raise OSError(28, "No space left on device")


def _own_error(place: str, ctx: RunContext) -> None:
    from genbench.errors import StoreUnwritableError

    raise StoreUnwritableError("the store is mine")


def _interrupted(place: str, ctx: RunContext) -> None:
    from genbench.errors import Interrupted

    raise Interrupted("I was told so")


def _spoiled(place: str, ctx: RunContext) -> None:
    from genbench.errors import SpoiledProcessError

    raise SpoiledProcessError("spoiled by me")


def _surrogate(place: str, ctx: RunContext) -> None:
    threading.Thread(target=time.sleep, args=(600,), name="caf\udce9", daemon=True).start()
    raise ValueError("cannot read caf\udce9.png")


def _device(place: str, ctx: RunContext) -> None:
    torch.set_default_device("meta")


def _flood(place: str, ctx: RunContext) -> None:
    while True:
        ctx.progress(1, 1, loss=1.0)


def _keyboard(place: str, ctx: RunContext) -> None:
    raise KeyboardInterrupt


def _pickle(place: str, ctx: RunContext) -> None:
    """Send the process outside something to unpickle."""
    import pickle

    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {place}",)

    for number in range(3, 256):
        with contextlib.suppress(OSError):
            os.write(number, len(pickle.dumps(Canary())).to_bytes(4, "big") + pickle.dumps(Canary()))


def _read(place: str, ctx: RunContext) -> None:
    """Read the first file below a place, by every way there is."""
    found = []
    for path in [Path(place), *Path(place).rglob("*")] if Path(place).is_dir() else [Path(place)]:
        if path.is_file():
            with contextlib.suppress(OSError):
                found.append(path.read_bytes())
            with contextlib.suppress(OSError):
                (ctx.work / "a_link").symlink_to(path)
                found.append((ctx.work / "a_link").read_bytes())
            with contextlib.suppress(OSError):
                os.link(path, ctx.work / "a_hard_link")
                found.append((ctx.work / "a_hard_link").read_bytes())
            with contextlib.suppress(OSError):
                found.append(Path("/proc/self/root" + str(path)).read_bytes())
            child = subprocess.run(["cat", str(path)], capture_output=True, check=False)
            if child.stdout:
                found.append(child.stdout)
    if found:
        (ctx.work.parent / "never").mkdir(exist_ok=True)
    raise PermissionError(13, f"read {len(found)} files")


def _write(place: str, ctx: RunContext) -> None:
    (Path(place) / "mine.txt").write_text("mine")


def _connect(place: str, ctx: RunContext) -> None:
    kinds = [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET6, 1)]
    opened = 0
    for family, kind in kinds:
        with contextlib.suppress(PermissionError):
            with socket.socket(family, kind) as one:
                one.connect(("127.0.0.1" if family == socket.AF_INET else "::1", int(place)))
                one.send(b"hello")
            opened += 1
    raise PermissionError(13, f"{opened} sockets")


def _kill_parent(place: str, ctx: RunContext) -> None:
    for pid in {os.getppid(), *(int(one.name) for one in Path("/proc").glob("[0-9]*"))}:
        name = Path(f"/proc/{pid}/cmdline")
        with contextlib.suppress(OSError):
            if pid != os.getpid() and b"genbench" in name.read_bytes():
                os.kill(pid, signal.SIGKILL)


def _stdin(place: str, ctx: RunContext) -> None:
    if sys.stdin.read():
        raise AssertionError("there was something to read")


def _grad(place: str, ctx: RunContext) -> None:
    torch.set_grad_enabled(False)


def _dtype(place: str, ctx: RunContext) -> None:
    torch.set_default_dtype(torch.float64)


def _determinism(place: str, ctx: RunContext) -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(3)
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True


def _stdout(place: str, ctx: RunContext) -> None:
    sys.stdout = sys.stderr = io.StringIO()


def _hang(place: str, ctx: RunContext) -> None:
    time.sleep(3600)


def _exit(place: str, ctx: RunContext) -> None:
    sys.exit(0)


def _hard_exit(place: str, ctx: RunContext) -> None:
    os._exit(0)


def _crash(place: str, ctx: RunContext) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _recursion(place: str, ctx: RunContext) -> None:
    def deeper() -> None:
        deeper()

    deeper()


def _progress(place: str, ctx: RunContext) -> None:
    ctx.progress(10**30, -1, **{f"metric{number}": float("nan") for number in range(1000)})


DEEDS: dict[str, Callable[[str, RunContext], None]] = {
    "none": _nothing, "relu": _relu, "numpy": _numpy, "seeds": _seeds, "environment": _environment,
    "harness": _harness, "children": _children, "threads": _threads, "signals": _signals,
    "close files": _close_files, "memory": _memory, "noise": _noise, "message": _message,
    "store error": _store_error, "disk full": _disk_full, "own error": _own_error,
    "interrupted": _interrupted, "keyboard": _keyboard, "pickle": _pickle, "read": _read, "write": _write,
    "connect": _connect, "kill parent": _kill_parent, "stdin": _stdin, "grad": _grad, "dtype": _dtype,
    "determinism": _determinism, "stdout": _stdout, "hang": _hang, "exit": _exit, "hard exit": _hard_exit,
    "crash": _crash, "recursion": _recursion, "progress": _progress, "symlink": _nothing,
    "spoiled": _spoiled, "surrogate": _surrogate, "device": _device, "flood": _flood,
    "hard link": _nothing, "fifo": _nothing, "empty": _nothing,
}  # fmt: skip


class CheatConfig(ClassifierConfig):
    """A linear layer that looks for the labels of test."""

    recipe: TrainRecipe = Field(default=TrainRecipe(epochs=2, batch_size_images=16), description="recipe")


class Cheat(Classifier):
    config: CheatConfig

    def build(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return CheatNetwork(num_classes, image_shape)


class CheatNetwork(nn.Module):
    """Prints the name of every split whose labels its process can read."""

    def __init__(self, classes: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.head = nn.Linear(shape[0] * shape[1] * shape[2], classes)
        for split in ("train", "val", "test", "reserve"):
            with contextlib.suppress(OSError):
                np.load(Path(os.environ["GENBENCH_HOSTILE_SPLITS"], split, "labels.npy"))
                sys.stdout.write(f"CAN READ {split}\n")

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


class LiarConfig(EvaluatorConfig):
    """Says that everything is right."""


class Liar(PredictionEvaluator):
    def __init__(self, config: LiarConfig) -> None:
        pass

    def evaluate(self, own: object, baseline: object, ctx: RunContext) -> Evaluation:
        _relu("", ctx)
        return Evaluation([Metric("top1", 100.0, split="test")])


def _misbehave_at_import() -> None:
    if _AT_IMPORT == "hang in a room" and not _IN_MAIN:
        time.sleep(3600)
    if _AT_IMPORT == "exit":
        sys.exit(0)
    if _AT_IMPORT == "harness":
        from genbench import records

        records.Record.to_json = lambda self: "{}"  # type: ignore[method-assign]


_misbehave_at_import()


@genbench.hookimpl
def genbench_generators() -> Sequence[genbench.ComponentSpec]:
    about = {"target": "hostile_plugin:Hostile", "config": "hostile_plugin:HostileConfig"}
    return [genbench.ComponentSpec(name="hostile", summary="hostile", needs_fit=True, **about)]


@genbench.hookimpl
def genbench_classifiers() -> Sequence[genbench.ComponentSpec]:
    about = {"target": "hostile_plugin:Cheat", "config": "hostile_plugin:CheatConfig"}
    return [genbench.ComponentSpec(name="cheat", summary="cheat", **about)]


@genbench.hookimpl
def genbench_evaluators() -> Sequence[genbench.ComponentSpec]:
    about = {"target": "hostile_plugin:Liar", "config": "hostile_plugin:LiarConfig"}
    return [genbench.ComponentSpec(name="liar", summary="liar", **about)]


@genbench.hookimpl
def genbench_step_finished(stage: str, key: str, status: str, seconds: float) -> None:
    if os.environ.get("GENBENCH_HOSTILE_OBSERVER"):
        raise RuntimeError("an observer broke")
