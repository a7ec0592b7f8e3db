"""Where a pipeline's files are, and whether it is one that can be used. Imports neither torch nor diffusers.

Only what a pipeline is loaded from counts: the plain safetensors of its parts, no variants, no pickles, no
single-file checkpoints.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from genbench import hub
from genbench.errors import DataError, unusable_path

INDEX = "model_index.json"
_WEIGHTS = ("diffusion_pytorch_model", "model")
_WITH_WEIGHTS = ("unet", "vae", "text_encoder", "safety_checker")
_PATTERNS = (
    INDEX,
    "tokenizer/*",
    "scheduler/*.json",
    "feature_extractor/*.json",
    *(f"{part}/*.json" for part in _WITH_WEIGHTS),
    *(f"{part}/{name}{tail}.safetensors"  # the plain weights: no fp16 or non-EMA variant, no pickle
      for part in _WITH_WEIGHTS for name in _WEIGHTS for tail in ("", "-*-of-*")),
)  # fmt: skip


def find_pipeline(model: str, allowed: tuple[str, ...]) -> Mapping[str, Path]:
    """Return a pipeline's files by their path inside it.

    Args:
        model: A local folder, or a Hub id.
        allowed: Classes, as `model_index.json` names them.

    Raises:
        DataError: There is no such pipeline, or it is of another class, or weights are missing.
    """
    folder = Path(model).expanduser()
    local = folder.is_dir() or model.startswith(("/", ".", "~"))
    files = _local_files(folder) if local else hub.find(model, _PATTERNS)
    if INDEX not in files:
        raise _wrong(model, f"it has no {INDEX}, only {_some(files)}")
    _check(model, files, allowed)
    return files


def _local_files(folder: Path) -> Mapping[str, Path]:
    """Return the files of a local pipeline; of another folder whatever it holds, for the message."""
    if not folder.is_dir():
        wrong = _wrong(str(folder), "it is not a folder")
        raise unusable_path(folder, wrong.message, hint=wrong.hint)
    found = {path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file()}
    if not (folder / INDEX).is_file():
        found = {path for path in folder.iterdir() if not path.name.startswith(".")}
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _check(model: str, files: Mapping[str, Path], allowed: tuple[str, ...]) -> None:
    """Refuse a pipeline of another class, and one without weights that can be read safely."""
    try:
        index = json.loads(files[INDEX].read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise _wrong(model, f"its {INDEX} is not JSON: {problem}") from None
    found = index.get("_class_name") if isinstance(index, dict) else None
    if found not in allowed:
        raise _wrong(model, f"its {INDEX} says {found!r}; allowed: {', '.join(allowed)}")
    for part in _WITH_WEIGHTS:
        entry = index.get(part) or [None, None]
        if not isinstance(entry, list) or len(entry) != 2:
            raise _wrong(model, f"its {INDEX} says {entry!r:.80} of {part}, and not a library and a class")
        if entry[0] is None:
            continue
        weights = [name for name in files if name.startswith(f"{part}/") and name.endswith(".safetensors")]
        if not weights:
            here = [name for name in files if name.startswith(f"{part}/")]
            raise _wrong(model, f"{part} has no weights as .safetensors, only {_some(here)}")


def _wrong(model: str, why: str) -> DataError:
    return DataError(
        f"{model!r} is not a Stable Diffusion pipeline that can be used here: {why}",
        hint="name a Hub id or a folder as diffusers' save_pretrained writes it: "
        "hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --local-dir FOLDER",
    )


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "") if listed else "nothing"
