"""Steps: what they hand to plugins, and what they refuse to take from them."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genbench.artifacts import read_filter_report, write_filter_report
from genbench.digest import digest, file_digest
from genbench.documents import Asked
from genbench.errors import GenbenchError, PluginError, ProtocolError
from genbench.images import TensorImages, open_images
from genbench.plan import Plan
from genbench.recipe import Mix
from genbench.records import Sampled
from genbench.runner import RunSummary
from genbench.steps import context
from genbench.steps.context import Clock, StepContext
from genbench.steps.filtering import check_left, open_kept
from genbench.steps.provenance import forget_peak_memory, peak_memory_bytes
from genbench.steps.requests import Judged, Supply, plan_request
from genbench.steps.samples import SyntheticSet, _kept_shard, note_copies, open_sample, write_sample
from genbench.steps.train import arm_images, usable
from genbench.store import Artifact, Store

DIGITS = ["digits:limit_train=60"]
MakeImages = Callable[..., TensorImages]
RunCells = Callable[..., tuple[Plan, RunSummary]]


def sampled(plan: Plan, store: Store, label: str) -> torch.Tensor:
    key = next(key for key, step in plan.steps.items() if step.label.startswith(f"sample {label} "))
    artifact = store.open(key)
    assert artifact is not None
    return open_images(artifact.folder).all()


def test_few_images_may_be_seen_more_often_in_an_epoch(run_cells: RunCells) -> None:
    _, outcome = run_cells(datasets=["toy-data", "toy-data:epoch_repeats=2.5"], mixes=[{"budget_scale": 2.0}])
    steps = {
        one.result.dataset.label: one.result.ledger.steps for one in outcome.records if one.result.ledger
    }
    assert steps["toy-data:epoch_repeats=2.5"] == pytest.approx(2.5 * steps["toy-data"], abs=1.5)
    assert steps["toy-data"] > 3


def test_options_of_a_referenced_generator_reach_its_sampling(run_cells: RunCells, store: Store) -> None:
    other = "sdedit:base=ddpm,base.guidance_scale=8"
    plan, outcome = run_cells(generators=["sdedit", other], datasets=["digits:limit_train=60"])
    assert outcome.failed == {}
    assert [step.stage for step in plan.steps.values()].count("fit") == 1  # guidance is not fitted
    labels = [step.label for step in plan.steps.values() if step.stage == "sample"]
    assert len(labels) == 2
    one, two = (sampled(plan, store, label.split()[1]) for label in labels)
    assert not torch.equal(one, two)


def test_an_evaluator_of_networks_gets_one_and_may_leave_files(run_cells: RunCells, store: Store) -> None:
    _, outcome = run_cells(evaluators=["toy-eval"])
    assert outcome.failed == {}
    assert [metric.name for metric in outcome.records[0].result.metrics] == ["mean_logit"]
    key = outcome.records[0].result.key
    artifact = store.open(key)
    assert artifact is not None
    assert (artifact.folder / "note.txt").read_text() == "a file of the evaluator"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("short", "ToyGenerator made 95 of 96 images"),
        ("labels", "ToyGenerator changed the labels it was asked for"),
    ],
)
def test_a_generator_that_makes_other_images_is_refused(
    run_cells: RunCells, store: Store, fault: str, reason: str
) -> None:
    _, outcome = run_cells(generators=[f"toy:fault={fault}"])
    assert [reason in found for found in outcome.failed.values()] == [True]


def test_a_filter_that_drops_a_class_is_an_error_with_the_numbers(run_cells: RunCells, store: Store) -> None:
    _, outcome = run_cells(generators=["toy"], filters=["toy-filter:drop_class=1,oversample=3"])
    reason = next(iter(outcome.failed.values()))
    assert "toy-filter dropped every image of: class1 (960 drawn)" in reason
    assert "--filter NAME:oversample=N draws N images per image wanted at first, and 10 N in all" in reason


def test_what_a_filter_leaves_too_few_of_is_made_up_for(run_cells: RunCells, store: Store) -> None:
    """Every second image stays: 16 of 32 in each class, and of (16 + 8) / (17 / 34) = 48 more another 24."""
    plan, outcome = run_cells(generators=["toy"], filters=["toy-filter"], evaluators=["accuracy", "toy-eval"])
    assert outcome.failed == {}
    found = next(one for one in outcome.records if one.result.filter.use == "toy-filter")
    ledger = found.result.ledger
    assert ledger.images is not None
    assert ledger.images == replace(
        ledger.images, asked_images=240, more_images=144, made_images=240, kept_images=120
    )
    (cell,) = (one for one in plan.cells if one.filter)
    steps = [store.open(key) for key in (cell.sample, *cell.more)]
    first, more, nothing = (open_sample(one) for one in steps if one is not None)
    assert [len(one.images) for one in (first, more, nothing)] == [96, 144, 0]
    assert not set(first.seeds.tolist()) & set(more.seeds.tolist())
    verdicts = store.open(cell.filter)
    assert verdicts is not None
    kept = open_kept(verdicts)
    assert kept.tolist() == list(range(0, 240, 2))  # rows of both draws
    train = plan.steps[cell.train].work.inputs
    assert (train.sample, train.filter, tuple(train.more.values())) == (cell.sample, cell.filter, cell.more)


def test_top_ups_are_deterministic_and_cached(run_cells: RunCells, store: Store) -> None:
    plan, first = run_cells(generators=["toy"], filters=["toy-filter"])
    again, second = run_cells(generators=["toy"], filters=["toy-filter"])
    assert plan.steps.keys() == again.steps.keys()
    assert second.ran == 0
    (cell,) = (one for one in plan.cells if one.filter)
    before = {key: (store.folder(key) / "seeds.npy").read_bytes() for key in cell.more}
    for key, step in plan.steps.items():
        if step.stage not in {"dataset", "fit"} and key != cell.sample:
            store.remove(key)
    _, third = run_cells(generators=["toy"], filters=["toy-filter"])
    assert [one.result for one in third.records] == [one.result for one in first.records]
    assert {key: (store.folder(key) / "seeds.npy").read_bytes() for key in cell.more} == before


def test_a_filter_without_a_shortage_costs_no_image_more(run_cells: RunCells, store: Store) -> None:
    _, outcome = run_cells(generators=["toy"], filters=["toy-filter:oversample=2"])
    assert outcome.failed == {}
    images = next(one.result.ledger.images for one in outcome.records if one.result.filter.use != "none")
    assert images is not None
    assert (images.asked_images, images.more_images, images.kept_images) == (192, 0, 96)


def test_generators_that_start_from_others_are_topped_up_with_them(run_cells: RunCells) -> None:
    _, outcome = run_cells(generators=["union:first=toy,second=classical"], filters=["toy-filter"])
    assert outcome.failed == {}
    images = next(one.result.ledger.images for one in outcome.records if one.result.filter.use != "none")
    assert images is not None
    assert (images.asked_images, images.more_images, images.kept_images) == (240, 144, 120)


@pytest.mark.parametrize("wrong", ["keep", "before", "after", "reasons", "short"])
def test_verdicts_that_are_not_about_the_images_are_refused(
    run_cells: RunCells, store: Store, tmp_path: Path, wrong: str
) -> None:
    """What a stranger's filter leaves in its room decides how many images are sampled next."""
    plan, _ = run_cells(generators=["toy"], filters=["toy-filter"])
    (cell,) = (one for one in plan.cells if one.filter)
    given = plan.steps[cell.filter].work.inputs.map(store.open)
    shutil.copytree(store.folder(cell.filter), tmp_path / "left")
    left = Artifact(tmp_path / "left", {}, {}, {})
    check_left(given, left)  # type: ignore[arg-type]
    report, keep = dict(read_filter_report(left)), np.load(left.folder / "keep.npy")
    if wrong in report:
        report[wrong] = report[wrong][:-1] if wrong == "reasons" else [-(10**9), *report[wrong][1:]]
        write_filter_report(**report, folder=left.folder)
    np.save(left.folder / "keep.npy", {"keep": keep & False, "short": keep[1:]}.get(wrong, keep))
    with pytest.raises(PluginError, match=r"its report says|keep\.npy is bool"):
        check_left(given, left)  # type: ignore[arg-type]


def test_too_few_images_after_the_last_top_up_fail_the_cell(make_images: MakeImages, tmp_path: Path) -> None:
    train, made = make_images(40), make_images(80, seed=1)
    np.save(tmp_path / "keep.npy", np.arange(80) < 40)
    whole = SyntheticSet(made, np.arange(80), np.full(80, -1), [""] * 80, Sampled(80, 80, 80))
    assert len(usable(whole, Artifact(tmp_path, {}, {}, {}), train, 1.0, 1)) == 40
    with pytest.raises(
        ProtocolError,
        match=r"are left after filtering: class 'class0': 20 drawn, 10 kept, 15 needed; class 'class1': 20"
        r"[\s\S]*--filter NAME:oversample=N",
    ):
        usable(whole, Artifact(tmp_path, {}, {}, {}), train, 1.5, 1)


# ------------------------------------------------------------------------------------------------ requests


def test_a_request_follows_trains_proportions_and_pairs_classes(make_images: MakeImages) -> None:
    train = make_images(41)
    request = plan_request(train, Asked(1.5), seed=3)
    assert len(request) == 62
    assert (train.labels[request.source_indices] == request.labels).all()
    assert abs(np.bincount(request.labels) / 62 - train.class_counts() / 41).max() < 0.02
    assert len(set(request.seeds.tolist())) == 62
    again, other = plan_request(train, Asked(1.5), 3), plan_request(train, Asked(1.5), 4)
    assert (again.seeds == request.seeds).all()
    assert not (other.seeds == request.seeds).any()


def test_a_top_up_asks_for_what_is_missing_and_goes_on(make_images: MakeImages) -> None:
    train = make_images(40)  # 10 of each class
    first = plan_request(train, Asked(1.0), seed=3)
    judged = Judged(np.array([10, 10, 10, 10]), np.array([10, 5, 0, 12]))
    asked = Asked(1.0, top_up=1, most=4.0)
    more = plan_request(train, asked, 3, judged=judged)
    # (5 + 2 sqrt 5) / (6 / 12) of one, and of the other as many as may be: 4 x 10 in all
    assert np.bincount(more.labels, minlength=4).tolist() == [0, 19, 30, 0]
    assert not set(more.seeds.tolist()) & set(first.seeds.tolist())
    other = plan_request(train, replace(asked, top_up=2), 3, judged=judged)
    assert not set(more.seeds.tolist()) & set(other.seeds.tolist())
    here = [request.source_indices[request.labels == 1] for request in (first, more)]
    assert here[1].tolist() == [*here[0], *here[0][:9]]  # ten sources, each used once, then from the start
    part = plan_request(train, asked, 3, judged=Judged(judged.drawn - 4, judged.kept))
    rest = part.source_indices[part.labels == 1]
    assert rest[:4].tolist() == here[0][6:].tolist()  # after the six that were used
    enough = plan_request(train, asked, 3, judged=Judged(judged.drawn, judged.drawn))
    assert len(enough) == 0


def test_a_top_up_takes_no_held_out_image_twice(make_images: MakeImages) -> None:
    train, reserve = make_images(40), make_images(60, seed=5)  # 15 of each class
    first = plan_request(train, Asked(1.0), 3, supply=Supply(reserve, is_reserve=True))
    judged = Judged(np.full(4, 10), np.array([10, 5, 5, 5]))
    more = plan_request(
        train, Asked(1.0, top_up=1, most=4.0), 3, supply=Supply(reserve, is_reserve=True), judged=judged
    )
    assert np.bincount(more.labels, minlength=4).tolist() == [0, 5, 5, 5]  # all that are left
    assert not set(first.source_indices.tolist()) & set(more.source_indices.tolist())


def test_usable_images_are_stratified_and_seeded(make_images: MakeImages) -> None:
    train, synthetic = make_images(40), make_images(80, seed=1)
    whole = SyntheticSet(synthetic, np.arange(80), np.full(80, -1), [""] * 80, Sampled(80, 80, 80))
    chosen = usable(whole, None, train, ratio=0.5, seed=1)
    assert chosen.class_counts().tolist() == [5, 5, 5, 5]
    assert torch.equal(chosen.all(), usable(whole, None, train, 0.5, 1).all())
    with pytest.raises(
        ProtocolError, match="too few synthetic images could be made: class 'class0': 20 of 30"
    ):
        usable(whole, None, train, ratio=3, seed=1)


@pytest.mark.parametrize(
    ("mode", "real", "total"), [("append", 40, 60), ("replace", 20, 40), ("synthetic-only", 0, 20)]
)
def test_each_mode_forms_its_training_set(make_images: MakeImages, mode: Any, real: int, total: int) -> None:
    train, synthetic = make_images(40), make_images(20, seed=1)
    images, identities = arm_images(train, synthetic, Mix(mode=mode, ratio=0.5), seed=1)
    assert (len(images), len(identities)) == (real, total)
    assert identities[real:].tolist() == list(range(40, 60))
    assert torch.equal(images.all(), train.batch(identities[:real]))  # a real image keeps its number
    assert len(set(images.class_counts().tolist())) == 1


def test_a_killed_sample_loses_one_shard_at_most(
    make_images: MakeImages, make_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    from genbench.protocols import Generator, SyntheticBatch

    made: list[int] = []

    class Counting(Generator):
        def sample(self, request: Any, ctx: Any) -> Any:
            made.append(len(request))
            yield SyntheticBatch(
                request.train.batch(request.source_indices), request.labels, request.source_indices
            )

    context = make_context(must_stop=lambda: len(made) == 2)
    with pytest.raises(GenbenchError, match="stopped"):
        write_sample(Counting(), plan_request(make_images(1200), Asked(1.0), 1), context, tmp_path)
    assert made == [512, 512]
    folder = tmp_path / "set"
    folder.mkdir()
    write_sample(Counting(), plan_request(make_images(1200), Asked(1.0), 1), make_context(), folder)
    assert made == [512, 512, 176]
    assert len(open_images(folder)) == 1200


def _faulty(faults_of_call: list[list[str]]) -> Any:
    """A generator whose n-th call has these faults; its images show their seed."""
    from genbench.protocols import Generator, SyntheticBatch

    class Faulty(Generator):
        def sample(self, request: Any, ctx: Any) -> Any:
            faults = faults_of_call.pop(0) if faults_of_call else [""] * len(request)
            pixels = torch.from_numpy(request.seeds % 251).byte()[:, None, None, None].expand(-1, 3, 8, 8)
            prompts = [f"class {label}" for label in request.labels]
            yield SyntheticBatch(pixels, request.labels, request.source_indices, prompts, faults)

    return Faulty()


def test_blank_and_failed_images_are_counted_and_made_again(
    make_images: MakeImages, make_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    request = plan_request(make_images(40), Asked(1.0), 1)
    first = ["", "blank", "failed"] + [""] * 37
    write_sample(_faulty([first, ["failed", ""]]), request, make_context(), tmp_path)
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts == {
        "asked_images": 40, "attempts": 43, "made_images": 40, "faults": {"blank": 1, "failed": 2},
        "copies": {}, "kept_images": None, "more_images": 0,
    }  # fmt: skip
    seeds, images = np.load(tmp_path / "seeds.npy"), open_images(tmp_path)
    assert (seeds != request.seeds).nonzero()[0].tolist() == [1, 2]  # made again with another seed
    assert images.all()[:, 0, 0, 0].tolist() == (seeds % 251).tolist()
    assert json.loads((tmp_path / "prompts.json").read_text())["texts"] == [f"class {c}" for c in range(4)]


def test_images_that_stay_blank_are_left_out_and_void_the_arm(
    make_images: MakeImages, make_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    train = make_images(40)
    request = plan_request(train, Asked(1.0), 1)
    write_sample(_faulty([["blank", *[""] * 39], *[["blank"]] * 3]), request, make_context(), tmp_path)
    assert json.loads((tmp_path / "counts.json").read_text())["attempts"] == 43
    images = open_images(tmp_path)
    assert images.class_counts().tolist() == [9, 10, 10, 10]
    rest = SyntheticSet(
        images, np.load(tmp_path / "seeds.npy"), np.full(39, -1), [""] * 39, Sampled(40, 43, 39, {"blank": 4})
    )
    with pytest.raises(
        ProtocolError, match="too few synthetic images could be made: class 'class0': 9 of 10"
    ):
        usable(rest, None, train, ratio=1.0, seed=1)


def test_a_set_that_is_mostly_faulty_is_no_set(
    make_images: MakeImages, make_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    request, context = plan_request(make_images(40), Asked(1.0), 1), make_context()
    with pytest.raises(GenbenchError, match="Faulty: of 40 images 30 failed: nothing is kept"):
        write_sample(_faulty([[*["failed"] * 30, *[""] * 10]]), request, context, tmp_path)
    assert not (tmp_path / "images.json").exists()
    write_sample(_faulty([]), request, context, tmp_path)  # asks again instead of reading the faulty shard
    assert len(open_images(tmp_path)) == 40


def test_copies_of_real_images_are_counted(
    make_images: MakeImages, make_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    from genbench.images import Subset
    from genbench.protocols import Generator, SyntheticBatch

    train, test = make_images(40), make_images(20, seed=9)

    class Thief(Generator):
        def sample(self, request: Any, ctx: Any) -> Any:
            stolen = torch.cat([test.batch(range(3)), train.batch(range(4)), make_images(33, seed=7).all()])
            yield SyntheticBatch(stolen, request.labels, request.source_indices)

    splits = {"train": train, "val": Subset(test, np.arange(10, 20)), "test": Subset(test, np.arange(10))}
    splits["reserve"] = Subset(train, np.arange(2))
    write_sample(Thief(), plan_request(train, Asked(1.0), 1), make_context(), tmp_path)
    note_copies(tmp_path, train, splits)
    assert json.loads((tmp_path / "counts.json").read_text())["copies"] == {
        "train": 4, "val": 0, "test": 3, "reserve": 2,
    }  # fmt: skip


def test_records_and_board_tell_copies_of_test(run_cells: RunCells, monkeypatch: pytest.MonkeyPatch) -> None:
    from genbench_leaderboard.board import build_board
    from genbench_leaderboard.tables import render_terminal

    _, outcome = run_cells(generators=["copies"])
    copied = next(one for one in outcome.records if one.result.generator.use == "copies")
    ledger = copied.result.ledger
    assert ledger.images is not None
    assert ledger.images.copies["train"] == ledger.images.made_images == 96
    assert ledger.images.copies["test"] == 0
    page = render_terminal(build_board(outcome.records))
    assert "pixel for pixel" not in page
    stolen = replace(ledger, images=replace(ledger.images, copies={"train": 89, "test": 7}))
    records = [one for one in outcome.records if one is not copied]
    records.append(replace(copied, result=replace(copied.result, ledger=stolen)))
    page = render_terminal(build_board(records))
    assert "synthetic images that are test images, pixel for pixel: 7" in page


def test_images_of_the_wrong_kind_are_refused(
    make_images: MakeImages, make_context: Callable[..., StepContext], tmp_path: Path
) -> None:
    from genbench.protocols import Generator, SyntheticBatch

    class Floats(Generator):
        def sample(self, request: Any, ctx: Any) -> Any:
            yield SyntheticBatch(torch.zeros(len(request), 3, 8, 8), request.labels, request.source_indices)

    with pytest.raises(PluginError, match=r"Floats must yield uint8 \[40, 3, 8, 8\], found torch.float32"):
        write_sample(Floats(), plan_request(make_images(40), Asked(1.0), 1), make_context(), tmp_path)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux can forget a process's peak"
)
def test_a_step_answers_for_its_own_peak_of_memory() -> None:
    def peak_with(mebibytes: int) -> float:
        forget_peak_memory("cpu")
        held = np.ones(mebibytes << 17)
        assert held[-1] == 1
        return peak_memory_bytes("cpu") / 2**20

    large, small, again = peak_with(400), peak_with(1), peak_with(400)
    assert large - small > 300
    assert abs(again - large) < 100


def test_a_resumed_step_costs_what_all_its_attempts_took(make_context: Callable[..., StepContext]) -> None:
    first = make_context()
    first.clock.before = 100.0
    first.checkpoint({}, {"step": 1})
    resumed = Clock.resumed(first.work)
    assert 100 <= resumed.seconds < 130
    half = Clock.resumed(first.work, share=0.5)
    time.sleep(0.2)
    assert half.seconds - half.before == pytest.approx(0.5 * (resumed.seconds - resumed.before), abs=0.05)
    assert Clock.resumed(first.work / "nowhere").before == 0
    for wrong in ("cut sho", "null", "[]", "-5", "NaN", "1e999", "true", "[" * 100_000):
        (first.work / "seconds.json").write_text(wrong)
        assert Clock.resumed(first.work).before == 0


def test_a_damaged_checkpoint_is_none(make_context: Callable[..., StepContext]) -> None:
    """Half of a training that began with other weights would be a wrong result under a right key."""
    saved = make_context()
    saved.checkpoint({"weights": torch.arange(8.0)}, {"step": 7})
    kept = {path: path.read_bytes() for path in saved.work.iterdir()}
    pointer, tensors = (saved.work / "checkpoint.json", next(saved.work.glob("*.safetensors")))
    damages = [
        (tensors, kept[tensors][:-1] + b"\x01"),
        (tensors, kept[tensors][:50]),
        (pointer, kept[pointer].replace(b"7", b"6", 1)),
        *((pointer, text) for text in (b"", b"[]", b"null", b'{"file": 7}', b"[" * 100_000, b"\xff")),
    ]
    for path, content in damages:
        saved.work.mkdir(exist_ok=True)
        for name, whole in kept.items():
            name.write_bytes(whole)
        assert saved.restore() is not None
        path.write_bytes(content)
        assert saved.restore() is None, content[:20]


def test_a_damaged_shard_is_made_again(make_context: Callable[..., StepContext], tmp_path: Path) -> None:
    path = tmp_path / "shard-0.npy"
    np.save(path, np.zeros(4, dtype=np.uint8))
    facts = [[1], [""], [""]]
    note = {"facts": facts, "sha256": digest([facts, file_digest(path)])}
    path.with_suffix(".json").write_text(json.dumps(note))
    assert _kept_shard(path) == facts
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x01")
    assert _kept_shard(path) is None
    path.write_bytes(whole)
    path.with_suffix(".json").write_text(json.dumps({**note, "facts": [[2], [""], [""]]}))
    assert _kept_shard(path) is None
    for wrong in ("", "[]", "null", '{"sha256": 1}'):
        path.with_suffix(".json").write_text(wrong)
        assert _kept_shard(path) is None


def test_a_kill_beside_a_checkpoint_loses_no_time(
    make_context: Callable[..., StepContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_context()
    first.clock.before = 100.0

    def write_and_die(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        if path.name == "checkpoint.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(context, "write_atomically", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        first.checkpoint({}, {"step": 1})
    assert first.restore() is not None  # the checkpoint is there, and so is what it cost
    assert Clock.resumed(first.work).before >= 100
