"""Reading checkpoints of others: files, nested state dicts, other names, and what does not fit.

Nothing is unpickled: a `.pth` is read by torch's weights-only loader, which knows tensors, numbers, texts and
containers. A pickle that needs more would run code of whoever wrote it; the message says how to convert it.
"""

import json
import pickle
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genbench.errors import DataError
from genbench.escaping import one_line
from genbench.files import load_tensors, open_regular

Tensors = Mapping[str, torch.Tensor]
Rename = Callable[[Tensors], Tensors]

_NESTED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "params",
)  # in the order of preference
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_SHOWN = 8  # names of a kind in a message
_CONVERT = (
    "import torch; from safetensors.torch import save_file; m = torch.load({old}, weights_only=False); "
    's = m.state_dict() if hasattr(m, "state_dict") else m; '
    "save_file({{k: v.contiguous() for k, v in s.items()}}, {new})"
)


def load_checkpoint(
    network: nn.Module,
    path: Path,
    component: str,
    rename: Rename | None = None,
    left_out: frozenset[str] = frozenset(),
    advise: Callable[[Tensors], str] = lambda tensors: "",
) -> None:
    """Load a checkpoint into a network, in place.

    Args:
        network: The network.
        path: The file.
        component: Whose it is, for messages.
        rename: Maps names of other implementations of the same architecture to the network's.
        left_out: Parameters that stay as they are.
        advise: Says which options of the classifier the tensors look like, if that can be said.

    Raises:
        DataError: The file cannot be read, or its names or shapes are not the network's; both are listed.
    """
    own = {name: value for name, value in network.state_dict().items() if name not in left_out}
    tensors = read_tensors(path)
    found = max(_readings(tensors, rename), key=lambda one: _fitting(one, own))
    # Files from before torch 0.4.1 lack the counters of batch norms, which evaluation does not use.
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in found if name not in own and name not in left_out]
    wrong = [
        f"{name}: {_shape(found[name])}, the network's is {_shape(own[name])}"
        for name in own
        if name in found and found[name].shape != own[name].shape
    ]
    if missing or unexpected or wrong:
        said = _mismatch(path, component, missing, unexpected, wrong)
        raise DataError(said, hint=advise(tensors) or _hint(wrong))
    broken = [name for name in own if name in found and not bool(torch.isfinite(found[name]).all())]
    if broken:
        more = f", and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise DataError(
            f"weights={path.name} holds NaN or infinity: {one_line('; '.join(broken[:_SHOWN]), 600)}{more}",
            hint="the training that wrote it diverged: take an earlier checkpoint",
        )
    network.load_state_dict({name: found[name] for name in own if name in found}, strict=False)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name; numbers and texts beside them are left out.

    Raises:
        DataError: It cannot be read without running code of its author, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        return load_tensors(path, "weights")
    open_regular(path).close()
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        reason = re.sub(r"\s+", " ", str(problem)).partition("Check the documentation")[0]
        needed = re.search(r"(?:GLOBAL|Unsupported global:?)\s+(?:GLOBAL\s+)?([\w.]+)", reason)
        what = f"it needs {needed.group(1)}" if needed else "it is no file of tensors"
        raise DataError(
            f"weights={path.name} is a pickle that torch's weights-only loader refuses ({what}): reading it "
            "in full would run whatever code its author put there.",
            hint=_conversion(path),
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as problem:
        raise DataError(
            f"weights={path.name} cannot be read: {one_line(str(problem), 200)}", hint="download it again"
        ) from None
    return _tensors(content, path)


def _conversion(path: Path) -> str:
    """Return the line that converts a pickle, ready to be pasted, and what to name then."""
    new = path.with_suffix(".safetensors")
    code = _CONVERT.format(old=json.dumps(str(path)), new=json.dumps(str(new)))
    return (
        f"where you trust it, convert it once, and give weights={new.name}:\n"
        f"  {shlex.join(['python', '-c', code])}"
    )


def _tensors(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Find the state dict in what a file holds: at the top, or under a usual key."""
    for _ in _NESTED:
        if not isinstance(content, Mapping):
            break
        found = {str(name): one for name, one in content.items() if isinstance(one, torch.Tensor)}
        inner = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), None)
        if inner is None and found:
            return found
        content = inner
    raise DataError(
        f"weights={path.name} holds no tensors by name, at the top or under {', '.join(_NESTED)}",
        hint="torch.save(network.state_dict(), FILE) writes what is read",
    )


def _readings(tensors: Tensors, rename: Rename | None) -> Iterator[Tensors]:
    """Yield the ways to read the names: as they are, renamed, with `model.`, and without a shared prefix."""
    while True:
        yield tensors
        if rename is not None:
            yield rename(tensors)
        yield {f"model.{name}": value for name, value in tensors.items()}
        prefix = next((one for one in _PREFIXES if all(name.startswith(one) for name in tensors)), None)
        if prefix is None or not tensors:
            return
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}


def _fitting(found: Tensors, own: Tensors) -> tuple[int, int]:
    """Say how well a reading fits: tensors of the right name and shape, then of the right name."""
    named = [name for name in own if name in found]
    return sum(found[name].shape == own[name].shape for name in named), len(named)


def _mismatch(path: Path, component: str, missing: list[str], unexpected: list[str], wrong: list[str]) -> str:
    said = []
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong)):
        if names:
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            said.append(f"{len(names)} {what} ({one_line('; '.join(names[:_SHOWN]), 600)}{more})")
    return f"weights={path.name} does not hold the weights of {component}: {', '.join(said)}."


def _hint(wrong: list[str]) -> str:
    if wrong:
        return "other options of the classifier, other classes (fresh_head=true draws the last layer anew)"
    return "choose the classifier, and its options, that the checkpoint was trained as"


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
