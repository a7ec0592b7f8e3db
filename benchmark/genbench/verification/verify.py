"""Verify a submission: plan it again, compose its records again, recompute, run some cells again."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from genbench import __version__
from genbench.compose import Composer
from genbench.documents import EvaluateDocument
from genbench.errors import GenbenchError
from genbench.escaping import LONGEST_SENTENCE, one_line, shortened
from genbench.hookspecs import Kind
from genbench.levels import Checked, Rerun, Verification, record_mark
from genbench.plan import Cell, Plan, PlannedRecord
from genbench.records import DatasetImages, Record, Result
from genbench.runner import Observer
from genbench.steps.provenance import commit
from genbench.store import Store
from genbench.verification import layout
from genbench.verification.comparing import MOST_LINES, recounted, undeclared, unequal
from genbench.verification.intake import Submission, take_in
from genbench.verification.packing import records_of, steps_of
from genbench.verification.recompute import CannotRecomputeError, ContradictionError, Recomputer
from genbench.verification.replanning import Replanned, replan
from genbench.verification.rerun import Wanted, compared, drawn, run_again

COST_IS_REPORTED = (
    "cost, date and hardware agree with what the steps say of themselves; whoever wrote both can have made "
    "them up together: they are reported, whatever the level of a row"
)


def verify(
    folder: Path, place: Path, store: Store, wanted: Wanted | None = None, observer: Observer | None = None
) -> Verification:
    """Check everything about a submission that can be checked here.

    Args:
        folder: A stranger's.
        place: An empty folder of ours, for copies and for what is run again.
        store: Ours: datasets are loaded into it, and nothing of the submission is written there.
        wanted: Which cells to run again; None runs none.
        observer: What is told of those.

    Raises:
        DataError: It is no submission, or holds what has no place in one: nothing of it was verified.
    """
    submission = take_in(folder, place / "submission")
    replanned = replan(submission.suite, store.fingerprint)
    found = [_Finding(name, record) for name, record in sorted(submission.records.items())]
    names: list[str] = []
    if replanned.plan is not None:
        _check(found, submission, replanned, replanned.plan, store, place)
        if wanted is not None:
            cells = drawn(_verified_cells(replanned.plan, found), wanted)
            names = [cell.name for cell in cells]
            _run_again(found, replanned, cells, place / "rerun", wanted, observer or Observer())
    else:
        for one in found:
            one.unchecked.append(f"the submitted suite {replanned.why}")
    others = submission.other_faults + list(_unclaimed(found, submission, replanned.plan))
    return Verification(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        genbench=f"{__version__} {commit()}".strip(),
        submission=submission.digest,
        seed=wanted.seed if wanted is not None else None,
        drawn=tuple(names),
        records=tuple(one.checked() for one in found),
        contradictions=_sentences(others),
        notes=_sentences(
            [*replanned.left_out.values(), *_not_submitted(found, replanned.plan), COST_IS_REPORTED]
        ),
    )


@dataclass
class _Finding:
    """What is known of one record so far."""

    file: str
    record: Record
    contradictions: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    planned: PlannedRecord | None = None
    is_recomputed: bool = False
    rerun: Rerun | None = None

    def checked(self) -> Checked:
        """Return it as it is published."""
        made = Checked(
            record=record_mark(self.record),
            file=self.file,
            name=_name(self.record.result),
            level="recomputed" if self.is_recomputed and not self.contradictions else "reported",
            contradictions=_sentences(self.contradictions),
            unchecked=_sentences(self.unchecked),
            rerun=self.rerun,
        )
        is_reproduced = made.rerun is not None and made.rerun.agrees and not made.contradictions
        return replace(made, level="reproduced") if is_reproduced else made


def _name(result: Result) -> str:
    images = result.generator.name + ("" if result.filter.use == "none" else f" + {result.filter.name}")
    mix = f", {result.mix.label}" if result.mix is not None else f", x{result.ratio:g}"
    network = f", {result.classifier.name}" if result.classifier is not None else ""
    text = f"{images}{mix} on {result.dataset.name}{network}, seed {result.index}: {result.evaluator.name}"
    return one_line(text, 500)


def _sentences(lines: Iterable[str]) -> tuple[str, ...]:
    """Return lines as they are published: one line each, escaped, and not too many or too long."""
    return tuple(
        shortened(one_line(line, LONGEST_SENTENCE), LONGEST_SENTENCE)  # what is escaped grows
        for line in list(dict.fromkeys(lines))[:MOST_LINES]
    )


# ------------------------------------------------------------------------------------------------- one by one


def _check(
    found: list[_Finding], submission: Submission, replanned: Replanned, plan: Plan, store: Store, place: Path
) -> None:
    """Check every record against plan, steps and predictions."""
    composer = Composer(plan, submission.store, layout.COMMAND, keep=False, afresh=True)
    recomputer = Recomputer(plan, replanned.registry, store, submission.store, place / "scratch")
    for one in found:
        fault = submission.faults.get(f"{layout.RECORDS}/{one.file}")
        one.contradictions += [fault] if fault else []
        one.planned = plan.records.get(one.record.result.key)
        if one.planned is None:
            if _say_why_unplanned(one, replanned, plan):
                _recompute_foreign(one, recomputer)
            continue
        _check_steps(one, submission, plan)
        _check_composed(one, composer, is_whole=not replanned.left_out)
        _recompute(one, recomputer, one.planned)
    _check_twice(found, plan, submission)


def _say_why_unplanned(one: _Finding, replanned: Replanned, plan: Plan) -> bool:
    """Say that a record has a component that was left out, and return so; any other must be planned."""
    result = one.record.result
    used: list[tuple[Kind, str]] = [
        ("dataset", result.dataset.use),
        ("generator", result.generator.use),
        ("filter", result.filter.use),
        ("classifier", result.classifier.use if result.classifier is not None else ""),
        ("evaluator", result.evaluator.use),
    ]
    reasons = [replanned.left_out[part] for part in used if part in replanned.left_out]
    if reasons:
        one.unchecked += reasons
        return True
    one.contradictions.append(f"result.key {result.key[:16]} is that of no evaluation of the submitted suite")
    one.contradictions += _nearest(result, plan)
    return False


def _nearest(result: Result, plan: Plan) -> list[str]:
    """Say what differs from the evaluation of the same name, if that explains another key."""
    for planned in plan.records.values():
        arm = planned.arm
        names = (arm.dataset.name, arm.generator.name, planned.evaluator.name, arm.index, planned.subject)
        own = (result.dataset.use, result.generator.use, result.evaluator.use, result.index, result.subject)
        if names == own:
            pairs = ((result.dataset, arm.dataset), (result.generator, arm.generator))
            return [
                f"{one.use}: the record has {dict(one.identity)}, and the plan here {dict(other.identity)}"
                for one, other in pairs
                if dict(one.identity) != dict(other.identity)
            ]
    return []


def _check_steps(one: _Finding, submission: Submission, plan: Plan) -> None:
    """Name what is wrong with the steps that a record tells of."""
    assert one.planned is not None
    for key in steps_of(plan, one.planned):
        label = plan.steps[key].label
        one.contradictions += [f"{label}: {fault}" for fault in submission.faults_of_step(key)]
        before = len(submission.store.found_damaged)
        if submission.store.open(key) is None and len(submission.store.found_damaged) == before:
            known = [fault for fault in submission.faults if key in fault]
            one.contradictions += [] if known else [f"{label}: its step is not in the submission"]
        for damage in submission.store.found_damaged[before:]:
            submission.faults.setdefault(f"{layout.STEPS}/{key}/manifest.json", damage.reason)
            one.contradictions.append(f"{label}: {damage.reason}")


def _check_composed(one: _Finding, composer: Composer, *, is_whole: bool) -> None:
    """Compare a record with what plan and steps make of it; a plan in part declares another family."""
    try:
        composed = composer.record(one.record.result.key)
    except GenbenchError as problem:
        one.contradictions.append(f"its steps make no record: {problem.message}")
        return
    if composed is None:
        one.contradictions.append(
            "the step that measured it is not in the submission, or not what its key says"
        )
    elif composed.result.status != "ok":
        one.contradictions.append(f"its steps make no record: {composed.result.reason}")
    else:
        one.contradictions += unequal(one.record, composed)
        one.contradictions += undeclared(one.record, composed) if is_whole else []


def _recompute(one: _Finding, recomputer: Recomputer, planned: PlannedRecord) -> None:
    """Recompute a record's metrics, if they follow from predictions, and its dataset's fingerprint."""
    result = one.record.result
    with _noted(one):
        ours = recomputer.dataset(planned)
        if result.data is not None and result.data != ours:
            one.contradictions.append(
                f"result.data: {_about(result.data)}; {result.dataset.name} as loaded here: {_about(ours)}"
            )
        one.contradictions += recounted(one.record, recomputer.evaluation(planned))
        one.is_recomputed = True


def _recompute_foreign(one: _Finding, recomputer: Recomputer) -> None:
    """Look for contradictions in a row that stays *reported*, since its plan is not made here."""
    with _noted(one):
        one.contradictions += recounted(one.record, recomputer.foreign_evaluation(one.record))
        one.unchecked.append(
            "its metrics follow from its predictions; its plan and its cost were not checked"
        )


@contextmanager
def _noted(one: _Finding) -> Iterator[None]:
    """Note why a record could not be recomputed, or what contradicts it."""
    try:
        yield
    except CannotRecomputeError as reason:
        one.unchecked.append(str(reason))
    except ContradictionError as problem:
        one.contradictions.append(str(problem))
    except GenbenchError as problem:
        one.unchecked.append(f"it cannot be recomputed here: {problem.message}")


def _about(data: DatasetImages) -> str:
    sizes = f"{data.train} + {data.val} + {data.test} images"
    return f"{sizes}, fingerprint {data.fingerprint[:16]}"


def _check_twice(found: list[_Finding], plan: Plan, submission: Submission) -> None:
    """Name cells whose predictions are another cell's: two trainings never leave the same logits."""
    by_content: dict[str, dict[str, list[_Finding]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        document = plan.steps[one.planned.key].work if one.planned is not None else None
        key = document.inputs.predict if isinstance(document, EvaluateDocument) else None
        manifest = submission.store.manifest(key) if key else None
        entry = manifest["files"].get("test.logits.npy") if manifest else None
        if key and entry:
            by_content[str(entry["sha256"])][key].append(one)
    for same in by_content.values():
        if len(same) > 1:
            for key, findings in same.items():
                other = plan.steps[next(one for one in same if one != key)].label
                for one in findings:
                    one.contradictions.append(
                        f"its predictions are, byte for byte, those of another cell: {other}"
                    )


# ------------------------------------------------------------------------------------------------------ rerun


def _verified_cells(plan: Plan, found: list[_Finding]) -> list[Cell]:
    """Return the cells that have a record which was recomputed, and whose parts may run here."""
    keys = {one.record.result.key for one in found if one.is_recomputed and not one.contradictions}
    return [
        cell
        for cell in plan.cells
        if any(key in keys for key in cell.steps)
        and not any(spec.resources.network for spec in (cell.arm.generator.spec, cell.arm.filter.spec))
    ]


def _run_again(
    found: list[_Finding],
    replanned: Replanned,
    cells: list[Cell],
    place: Path,
    wanted: Wanted,
    observer: Observer,
) -> None:
    """Run cells again, and note what came out with every record of theirs."""
    assert replanned.plan is not None
    if not cells:
        return
    again = run_again(replanned.plan, cells, replanned.registry, place, wanted, observer)
    keys = {planned.key for cell in cells for planned in records_of(replanned.plan, cell)}
    for one in found:
        record = again.get(one.record.result.key)
        if one.record.result.key not in keys or record is None:
            continue
        if record.result.status != "ok":
            one.unchecked.append(f"it could not be run again: {record.result.reason}")
            continue
        one.rerun, contradictions = compared(one.record, record)
        one.contradictions += contradictions


# --------------------------------------------------------------------------------------------------- the rest


def _unclaimed(found: list[_Finding], submission: Submission, plan: Plan | None) -> Iterable[str]:
    """Yield what is wrong with steps that no record of the submission tells of."""
    used: set[str] = set()
    for one in found:
        if plan is not None and one.planned is not None:
            used.update(steps_of(plan, one.planned))
    for name, why in sorted(submission.faults.items()):
        head, _, rest = name.partition("/")
        if head == layout.STEPS and rest.partition("/")[0] not in used:
            yield f"{name}: {why}"


def _not_submitted(found: list[_Finding], plan: Plan | None) -> list[str]:
    """Say how many planned evaluations have no record: whoever leaves some out may have chosen."""
    if plan is None:
        return []
    keys = {one.record.result.key for one in found}
    due = [planned for planned in plan.records.values() if planned.subject != "suite"]
    gone = sum(planned.key not in keys for planned in due)
    if not gone:
        return []
    return [f"{gone} of the {len(due)} evaluations that the suite plans are not in the submission"]
