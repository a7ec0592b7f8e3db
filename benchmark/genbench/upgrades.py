"""What older records say, in the present schema: one function per version, each from version v to v + 1.

They work on parsed JSON, before validation. Whatever an old record does not say stays unknown: nothing is
guessed.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from genbench.metrics import Metric

Body = dict[str, Any]

_LONGEST_NAME = 1_000
_NAME = re.compile(r"(?P<base>[A-Za-z0-9_]+)(?:\[(?P<inside>.*)\])?")  # the only place where names are read
_OUTER_COMMA = re.compile(r",(?![^\[]*\])")
_SPEARMAN = re.compile(r"spearman\[(?P<metric>.+)\]\[(?P<classifier>.+)\]")
_ABOVE_LINE = re.compile(r"effective_robustness\[(?P<shift>[^\]]+)\](?:\[(?P<row>.+)\])?")
_SPLITS = ("train", "val", "test")

_SYNTHETIC = {"split": "synthetic"}
_FLOOR_ON_VAL = {"split": "val", "role": "floor"}
_AGAINST_TRAIN = {"split": "synthetic", "against": "train"}
_REAL_AGAINST_TRAIN = {"split": "val", "against": "train", "role": "floor"}
_POOLED = {"split": "synthetic", "average": "pooled"}
_NULL = {"against": "none", "role": "floor"}

#: What the names of schema 1 meant, where that is not in the brackets behind them.
_MEANING: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("fid", "mmd2", "kid", "vendi", "inception_score"), _SYNTHETIC),
    **{f"{name}_floor": {"name": name, "split": "train", "role": "floor"} for name in ("fid", "mmd2", "kid")},
    "mmd2_p": {"name": "mmd2", "split": "synthetic", "role": "p_value", "average": "none"},
    "fid_infinity": _SYNTHETIC,
    "mean_class_fid": _SYNTHETIC,
    **dict.fromkeys(("precision", "recall", "density", "coverage"), _AGAINST_TRAIN),
    **{
        f"{name}_real": {"name": name, **_REAL_AGAINST_TRAIN}
        for name in ("precision", "recall", "density", "coverage")
    },
    "vendi_real": {"name": "vendi", "split": "train", "role": "floor"},
    "inception_score_real": {"name": "inception_score", **_FLOOR_ON_VAL},
    "label_fidelity": _POOLED,
    "label_fidelity_real": {"name": "label_fidelity", **_FLOOR_ON_VAL, "average": "pooled"},
    "copies_of_train": {"name": "copies", **_POOLED, "against": "train"},
    "copies_of_test": {"name": "copies", **_POOLED, "against": "test"},
    "test_images_copied": {"name": "images_copied", "split": "test", "against": "synthetic"},
    "dataset_duplicates": {"against": "train", "role": "check"},
    "cka": {"against": "none"},
    "cka_null": {"name": "cka", **_NULL},
    "activation_mmd2": {"against": "none"},
    "activation_mmd2_null": {"name": "activation_mmd2", **_NULL},
    "attacked_top1": {"role": "curve"},
    "attack_violations": {"role": "check"},
    "train_top1": {"name": "top1", "split": "train"},
    "mean_computed_top1": {"split": ""},
}
#: Names whose brackets held a shift.
_ON_SHIFT = frozenset(
    {"top1", "top5", "balanced_accuracy", "log_loss", "macro_f1", "brier", "calibration_error"}
    | {"ood_top1", "gap"}
)


def metric_of_schema_1(old: Mapping[str, Any], subject: str, tables: Mapping[str, Any]) -> Body:
    """Return a metric whose name was a text like `fid[reference,n=1437,train]` as fields.

    Args:
        old: The metric.
        subject: What its record is about.
        tables: Of its record; they know how many images a split has.
    """
    if len(old["name"]) > _LONGEST_NAME:  # the patterns below would take minutes for a name of a megabyte
        raise ValueError(f"a metric's name has {len(old['name']):,} characters, of at most {_LONGEST_NAME:,}")
    if subject == "suite":
        return _finding_of_schema_1(old)
    found = _NAME.fullmatch(str(old["name"]))
    base, inside = (found["base"].lower(), found["inside"]) if found else (str(old["name"]), None)
    new: Body = {**old, "name": base, "split": "test" if subject == "cell" else "", "qualifiers": []}
    if base.startswith("val_") and inside is None:
        new |= {"name": base.removeprefix("val_"), "split": "val"}
    new |= _MEANING.get(base, {})
    for place, token in enumerate(_OUTER_COMMA.split(inside) if inside else ()):
        _read_token(new, base, subject, place, token)
    split = tables.get(new["split"])
    if new.get("n") is None and subject == "cell" and isinstance(split, Mapping) and "n" in split:
        new["n"] = split["n"]
    return new


def _finding_of_schema_1(old: Mapping[str, Any]) -> Body:
    """Return a metric about a whole suite, whose name held another metric's, or a row's."""
    new: Body = {**old, "split": "", "qualifiers": []}
    correlated, scored = _SPEARMAN.fullmatch(old["name"]), _ABOVE_LINE.fullmatch(old["name"])
    if correlated:
        inner = metric_of_schema_1({"name": correlated["metric"], "value": None}, "image_set", {})
        about = [_label(inner), correlated["classifier"]]
        new |= {"name": "spearman", "qualifiers": about, "average": "none"}
    elif scored:
        row = [scored["row"]] if scored["row"] else []
        new |= {"name": "effective_robustness", "split": scored["shift"], "qualifiers": row}
        new["average"] = "none"
    else:
        base, _, rest = str(old["name"]).partition("[")
        inside = rest.removesuffix("]")
        new |= {"name": base.lower(), "qualifiers": [inside] if inside else []}
    return new


def _label(upgraded: Body) -> str:
    """Return what people call a metric that was upgraded."""
    return Metric(**{**upgraded, "qualifiers": tuple(upgraded["qualifiers"])}).label


def _read_token(new: Body, base: str, subject: str, place: int, token: str) -> None:
    """Say in fields what one of the words between the brackets said."""
    if token.startswith("n=") and token[2:].isdigit():
        new["n"] = int(token[2:])
    elif place == 0 and base in _ON_SHIFT:
        new["split"] = token
        new |= {"against": "test"} if base == "gap" else {}
    elif base == "dataset_duplicates":
        new["split"] = token
    elif token == "none" or (token in _SPLITS and place > 0):
        new["against"] = token
    elif subject == "image_set" and place == 0:
        new["extractor"] = token
    else:
        new["qualifiers"] = [*new["qualifiers"], token]


def _from_1_to_2(body: Body) -> Body:
    """Names of metrics become fields, and dictionaries with known entries the classes of schema 2."""
    result, run = dict(body["result"]), dict(body["run"])
    subject, mix, tables = result["subject"], result.pop("mix"), result.get("tables", {})
    result["protocol"] = {"version": 1, **result["protocol"]}  # it was the only one
    result["ratio"] = float(mix.get("ratio", 0.0))
    result["mix"] = mix if subject == "cell" else None
    result["metrics"] = [metric_of_schema_1(one, subject, tables) for one in result.get("metrics", ())]
    versions = {kind: result[kind] or {} for kind in ("generator", "filter", "classifier", "evaluator")}
    run["plugins"] = [
        {
            "kind": kind,
            "name": name,
            "version": versions.get(kind, {}).get("version", 1),
            "sha256": sha256,
            "covers": "file",
        }
        for (kind, _, name), sha256 in (
            (code.partition(" "), sha) for code, sha in run.pop("code", {}).items()
        )
    ]
    return {"schema_version": 2, "result": result, "run": run}


UPGRADES: Mapping[int, Callable[[Body], Body]] = {1: _from_1_to_2}
