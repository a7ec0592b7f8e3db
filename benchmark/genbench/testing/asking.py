"""What a check is, and in which order checks are asked: one mistake is reported by one check."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from genbench.testing.subject import Subject

Check = Callable[[Subject], None]
_AFTER: dict[Check, tuple[Check, ...]] = {}


@dataclass(frozen=True)
class Outcome:
    """What became of one check.

    Attributes:
        check: Which.
        status: `ok`; `FAIL`; `skip`, where a check that it rests on did not pass.
        message: What is wrong, or which check it rests on.
    """

    check: Check
    status: Literal["ok", "FAIL", "skip"]
    message: str = ""


def after(*needed: Check) -> Callable[[Check], Check]:
    """Mark a check that says nothing unless others pass: it is skipped where one of them does not."""

    def mark(check: Check) -> Check:
        _AFTER[check] = needed
        return check

    return mark


def needed_by(check: Check) -> tuple[Check, ...]:
    """Return the checks that one rests on directly."""
    return _AFTER.get(check, ())


def outcomes(subject: Subject, checks: Sequence[Check]) -> Iterator[Outcome]:
    """Run checks in order, each in a folder of its own that is gone afterwards."""
    passed: set[Check] = set()
    for check in checks:
        missing = [needed.__name__ for needed in needed_by(check) if needed not in passed]
        if missing:
            yield Outcome(check, "skip", f"asked once {missing[0]} passes")
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(replace(subject, work=Path(folder)))
            except (
                Exception,
                SystemExit,
            ) as problem:  # a check tells by raising, and a plugin may raise anything
                about = "" if isinstance(problem, AssertionError) else f"{type(problem).__name__}: "
                yield Outcome(check, "FAIL", f"{about}{problem}")
                continue
        passed.add(check)
        yield Outcome(check, "ok")
