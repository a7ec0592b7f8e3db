"""What a submission consists of.

    submission.json               digest of every other file, and the version of this form
    suite.toml                    what is needed to plan again
    records/*.json                what is claimed
    steps/<key>/manifest.json     what each step that a record tells of says of itself
    steps/<key>/*.json            what it left, as far as records are composed of it
    steps/<key>/<split>.*.npy     the logits of val, test and every shift; features on request

Nothing else: no code, no pickles, no images, no labels. Arrays are bare `.npy`: nothing is unpacked, so that
a file's size bounds what it becomes.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from genbench.errors import UsageError
from genbench.notation import flattened
from genbench.suite import Suite

SCHEMA_VERSION = 1
LIST, SUITE, RECORDS, STEPS = "submission.json", "suite.toml", "records", "steps"
COMMAND = f"genbench run {SUITE}"  #: what repeats a submission, in every record of it

#: JSON that records are composed from (`genbench.artifacts`); other files of a step stay at home.
STEP_FILES = frozenset(
    {
        *("manifest.json", "dataset.json", "counts.json", "filter.json", "curve.json"),
        *("ledger.json", "history.json", "training.json", "evaluation.json"),
    }
)
RECORD_NAME = re.compile(r"(cell|image_set)-[0-9a-f]{16}-[0-9a-f]{8}\.json")
STEP_NAME = re.compile(r"[0-9a-f]{64}")
ARRAY_NAME = re.compile(r"[\w.+=-]{1,200}\.(logits|features)\.npy", re.ASCII)

MOST_FILES, MOST_BYTES = 500_000, 64 * 2**30
MOST_JSON_BYTES, MOST_ARRAY_BYTES = 128 * 2**20, 4 * 2**30
MOST_DEPTH = 50  #: of JSON; of what the built-in components leave: 12


def suite_text(suite: Suite) -> str:
    """Return a suite as TOML that `genbench.suite.load_suite` reads back equal.

    Raises:
        UsageError: It holds a value that TOML cannot spell.
    """
    content = suite.model_dump(mode="json")
    plain = {name: value for name, value in content.items() if name not in _LISTS and value is not None}
    lines = [f"{name} = {_value(value)}" for name, value in plain.items()]
    for name in _LISTS:
        entries = [f"  {_entry(name, one)},\n" for one in content[name]]
        lines.append(f"{name} = [\n{''.join(entries)}]" if entries else f"{name} = []")
    return "\n".join(lines) + "\n"


_LISTS = (
    "datasets",
    "baseline_datasets",
    "generators",
    "filters",
    "classifiers",
    "evaluators",
    "mixes",
    "rows",
)


def _entry(name: str, value: Mapping[str, Any]) -> str:
    if name == "mixes":  # what is not set has its default
        value = {option: one for option, one in value.items() if one is not None}
    if name == "rows":
        mixes = [{option: one for option, one in mix.items() if one is not None} for mix in value["mixes"]]
        value = {**value, "mixes": mixes}
    return _value(value)


def _value(value: Any) -> str:
    """Write one value; `{use, options}` with a null among the options as `"use:option=null"`."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        options = value.get("options")
        if isinstance(options, Mapping) and _holds_null(options):
            words = [f"{name}={json.dumps(one)}" for name, one in flattened(options)]
            return _value(f"{value['use']}:{','.join(words)}")
        return f"{{{', '.join(f'{_text(str(name))} = {_value(one)}' for name, one in value.items())}}}"
    raise UsageError(f"a suite with the value {value!r} cannot be written as TOML")


def _text(text: str) -> str:
    r"""Write a text as TOML's basic string: what is not plain ASCII as `\UXXXXXXXX`."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(one if one.isascii() and one.isprintable() else f"\\U{ord(one):08X}" for one in quoted)


def _holds_null(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return value is None or any(map(_holds_null, inner))
