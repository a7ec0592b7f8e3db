"""The Python interface: what it takes, what it returns, what it leaves alone."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

import genbench
from genbench.api import Board, Records, Results
from genbench.errors import GenbenchError, UsageError
from genbench.registry import Registry
from genbench.request import make_plan_of, read_suite, shell_line
from genbench.store import Store

PLUGIN = Path(__file__).parents[1] / "toy_plugin.py"
TOYS: dict[str, Any] = {
    "datasets": "toy-data",
    "generators": ["toy"],
    "classifiers": "toy-net",
    "evaluators": ["accuracy"],
    "reference": "toy-net",
    "preset": "smoke",
    "seeds": 2,
    "plugins": PLUGIN,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return genbench.run(**TOYS, jobs=0, store=folder / "store")


# --------------------------------------------------------------------------------------------- a light import


def test_the_package_is_light_and_lists_what_it_has() -> None:
    code = """
    import sys, genbench
    assert dir(genbench) == ["ComponentSpec", "GenbenchError", "Resources", "__version__", "hookimpl",
                             "leaderboard", "plan", "run"], dir(genbench)
    heavy = {"torch", "numpy", "pandas", "pydantic", "click", "genbench.errors"}
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
    genbench.run
    assert not {"torch", "pandas", "click", "datasets", "rich"} & set(sys.modules)
    from genbench.plan import Plan       # a module of that name lies in the package
    assert callable(genbench.plan) and genbench.plan.__name__ == "plan"
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """A worker must not import the script that started it: without a guard, that would start over."""
    script = """
    print("the script runs")
    from genbench.executors import Setup, Task
    from genbench.executors.config import ProcessesConfig
    from genbench.executors.processes import ProcessExecutor
    executor = ProcessExecutor(ProcessesConfig(), Setup("light_probe:make", {}))
    executor.submit([Task("one", 7)])
    found = []
    while not any(event.status in {"done", "failed"} for event in found):
        found += executor.events(1.0)
    executor.close()
    print(found[-1].status, __name__)
    """
    probe = """
    class Probe:
        def __call__(self, task, report):
            import sys
            assert not hasattr(sys.modules["__main__"], "found")
        def announce(self, tasks):
            pass
    def make(must_stop):
        return Probe()
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    (tmp_path / "light_probe.py").write_text(textwrap.dedent(probe))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines() == ["the script runs", "done __main__"], done.stderr


# ------------------------------------------------------------------------------------------------ the results


def test_records_are_a_sequence_and_a_frame(results: Results) -> None:
    assert repr(results) == "<genbench run: 4 cells, 20 steps ran>"
    assert not results.failed
    assert isinstance(results.records, Records)
    assert len(results.records) == 6
    assert results.records[0].result.status == "ok"
    assert isinstance(results.records[:2], Records)
    frame = results.to_frame()
    top1 = frame[(frame["metric"] == "top1") & (frame["split"] == "test")]
    assert sorted(zip(top1["generator"], top1["index"], strict=True)) == [
        ("none", 0), ("none", 1), ("toy", 0), ("toy", 1)
    ]  # fmt: skip
    first = results.records[0].result
    (value,) = top1[(top1["generator"] == first.generator.name) & (top1["index"] == first.index)]["value"]
    metric = first.metric("top1")
    assert metric is not None
    assert value == metric.value


def test_the_board_is_text_html_and_a_frame(results: Results) -> None:
    board = results.board
    assert "Every row takes the same optimizer steps" in str(board)
    assert str(results) == str(board)
    assert repr(board) == "<genbench board: 2 rows of 4 cells; print() shows it>"
    assert board._repr_html_().count("<table>") >= 2
    assert list(board.to_frame()["generator"]) == ["none", "toy"]
    assert board.to_markdown().startswith("# Leaderboard")
    assert json.loads(board.to_json())["groups"]
    assert board.to_csv().splitlines()[0].startswith("comparison,row,dataset,classifier")


def test_html_of_a_board_is_escaped(results: Results) -> None:
    from dataclasses import replace

    records = [
        replace(one, result=replace(one.result, dataset=replace(one.result.dataset, label="<script>x")))
        for one in results.records
    ]
    page = Board.of(records)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;x" in page


def test_a_cells_network_says_what_was_recorded(results: Results) -> None:
    cell = results.cell(generator="toy", index=1)
    assert cell.name == "toy-data/toy/x1-standard/toy-net/1"
    test = cell.split("test")
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in test["image"]])).permute(0, 3, 1, 2)
    network = cell.network()
    assert not network.training
    with torch.no_grad():
        logits = network(pixels)
        features = network.forward_features(pixels)
    for ask in (network, network.forward_features):
        with pytest.raises(
            UsageError, match=r"takes pixels, uint8 .*, found torch.float32\n.*\.network takes"
        ):
            ask(pixels / 255)
    stored = cell.predictions()["test"]
    assert np.allclose(logits.numpy(), stored.logits, atol=1e-6)
    assert np.array_equal(stored.labels, np.array(test["label"]))
    assert np.allclose(
        network.forward_head(features, pre_logits=True).detach().numpy(), stored.features, atol=1e-6
    )
    assert np.allclose(network.forward_head(features).detach().numpy(), stored.logits, atol=1e-6)


def test_a_cells_images_are_a_dataset(results: Results) -> None:
    cell = results.cell(generator="toy", index=0)
    images = cell.images()
    assert isinstance(images, datasets.Dataset)
    assert images.column_names == ["image", "label", "source"]
    train = cell.split("train")
    assert len(images) == len(train)
    assert images.features["label"].names == train.features["label"].names
    assert images[0]["image"].mode == "RGB"
    with pytest.raises(UsageError, match="is real images alone: it has no synthetic images"):
        results.cell(generator="none", index=0).images()
    with pytest.raises(UsageError, match=r"toy-data has no split 'tset': it has train, val, test"):
        cell.split("tset")


def test_cells_are_found_by_name_or_by_what_they_are(results: Results) -> None:
    assert results.cell("toy-data/none/standard/toy-net/0").index == 0
    with pytest.raises(UsageError, match=r"2 cells have generator='toy'; the first are: .*toy-net/0, .*/1"):
        results.cell(generator="toy")
    with pytest.raises(UsageError, match=r"0 cells have index=7; there are: "):
        results.cell(index=7)
    with pytest.raises(UsageError, match=r"cells have no 'sead'. .*Known: augment, "):
        results.cell(sead=0)


def test_what_is_there_is_not_run_again_and_plans_say_so(results: Results, folder: Path) -> None:
    again = genbench.run(**TOYS, jobs=0, store=folder / "store")
    assert again.ran == 0
    assert [one.result_digest for one in again.records] == [one.result_digest for one in results.records]
    outlook = genbench.plan(**TOYS, store=folder / "store")
    assert repr(outlook) == "<genbench plan: 4 cells, 20 steps: 20 cached>"
    assert set(outlook.to_frame()["state"]) == {"cached"}
    assert outlook.cells[0].predictions()["test"].logits.shape[1] > 1
    fresh = genbench.plan(**TOYS, store=folder / "empty")
    assert repr(fresh) == "<genbench plan: 4 cells, 20 steps: 20 new>"
    with pytest.raises(UsageError, match=r"is not in the store .*empty\n  genbench.run\(...\)"):
        fresh.cells[0].network()


def test_boards_of_files_of_records_and_of_the_store(results: Results, folder: Path, tmp_path: Path) -> None:
    published = genbench.run(**TOYS, jobs=0, store=folder / "store", out=tmp_path)
    assert published.folder is not None
    assert (published.folder / "leaderboard.md").is_file()
    named = genbench.run(**TOYS, jobs=0, store=folder / "store", out=tmp_path, name="second")
    assert named.folder is not None
    assert named.folder.name == "second"
    boards = [
        genbench.leaderboard(published.folder / "records"),
        genbench.leaderboard([str(published.folder)]),
        genbench.leaderboard(results.records),
        genbench.leaderboard(store=folder / "store"),
    ]
    assert len({board.to_csv() for board in boards}) == 1
    with pytest.raises(UsageError, match="no records found"):
        genbench.leaderboard([])
    with pytest.raises(UsageError, match="no file or folder 'nowhere'"):
        genbench.leaderboard("nowhere")


def test_without_out_nothing_is_written_but_the_store(
    folder: Path, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    genbench.run(**TOYS, jobs=0, store=folder / "store")
    assert sorted(tmp_path.rglob("*")) == before


def test_progress_is_a_line_per_step(
    folder: Path, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    genbench.run(**{**TOYS, "seeds": 1}, jobs=0, store=folder / "store")
    assert capsys.readouterr() == ("", "")
    genbench.run(**{**TOYS, "seeds": 1, "base_seed": 3}, jobs=0, store=folder / "store", progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("steps to run, 2 are cached"), lines[0]
    assert lines[-1].startswith(f"[{len(lines) - 1}/{len(lines) - 1}] ")


def test_a_cell_that_fails_is_a_record_with_its_reason(folder: Path) -> None:
    failing = genbench.run(
        **{
            **TOYS,
            "seeds": 1,
            "generators": [],
            "classifiers": {"use": "cnn", "recipe": {"learning_rate": 1e9}},
        },
        jobs=0,
        store=folder / "store",
    )
    (reason,) = failing.failed.values()
    assert "training diverged" in reason
    assert "training diverged" in failing._repr_html_()
    assert set(failing.to_frame()["status"]) == {"failed"}
    assert "see .failed" in repr(failing)


# ---------------------------------------------------------------------------------------------- what it takes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator": "ddpm"}, r"genbench takes no option 'generator'. Did you mean generators"),
        ({"generators": "dppm", "classifiers": "cnn"}, r"Did you mean ddpm"),
        ({}, "name at least one classifier, or a suite"),
        (
            {"classifiers": "cnn", "seeds": 0},
            r"genbench: option 'seeds' is 0: Input should be greater than or equal to 1",
        ),
        ({"suite": "digits-quik"}, r"no suite 'digits-quik'.*Did you mean digits-quick"),
        ({"classifiers": "cnn", "datasets": {"use": "digits", "siez": 3}}, r"unknown option 'siez'"),
        ({"suite": {"classifers": ["cnn"]}}, "name at least one classifier"),
    ],
)
def test_mistakes_are_errors_with_the_next_step(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(GenbenchError, match=message):
        genbench.plan(**options, store=tmp_path)
    with pytest.raises(GenbenchError, match=message):
        genbench.run(**options, store=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "genbench.run: device: Input should be 'auto', 'cpu' or 'cuda'"),
        ({"jobs": -1}, "genbench.run: jobs: Input should be greater than or equal to 0"),
        ({"step_timeout": 0}, "genbench.run: step_timeout: Input should be greater than 0"),
        ({"confine": "some"}, "genbench.run: confine: Input should be 'auto'"),
    ],
)
def test_how_a_run_is_done_is_checked_before_it_begins(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        genbench.run(**TOYS, store=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_paths_among_the_options_of_components_are_texts(tmp_path: Path) -> None:
    np.save(tmp_path / "said.npy", np.zeros(3))
    asked: list[Any] = [
        {"classifiers": {"use": "predictions", "path": path}} for path in (tmp_path / "said.npy",)
    ]
    asked.append({"suite": {"classifiers": [{"use": "predictions", "path": tmp_path / "said.npy"}]}})
    for options in asked:
        (cell,) = genbench.plan(**({"datasets": "digits"} if "suite" not in options else {}), **options,
                                store=tmp_path / "store").plan.cells  # fmt: skip
        assert cell.arm.classifier is not None
        assert cell.arm.classifier.paths == (str(tmp_path / "said.npy"),)


def test_options_mean_what_they_mean_on_the_command_line(registry: Registry, tmp_path: Path) -> None:
    flags = {
        "datasets": ("digits",),
        "classifiers": ("cnn:widths=[4]", "mlp"),
        "generators": ("classical",),
        "ratios": (0.5, 2.0),
        "limit_train": 300,
        "seeds": 3,
    }
    typed = read_suite(None, flags)
    said = genbench.plan(
        datasets={"use": "digits"},
        classifiers=[{"use": "cnn", "widths": [4]}, "mlp"],
        generators="classical",
        ratios=[0.5, 2],
        limit_train=300,
        seeds=3,
        store=tmp_path,
    )
    assert list(said.plan.steps) == list(make_plan_of(registry, Store(tmp_path), typed).steps)
    whole = {"datasets": ["digits"], "classifiers": ["mlp"], "seeds": 3}
    assert len(genbench.plan(whole, seeds=2, store=tmp_path).cells) == 2
    assert len(genbench.plan("digits-quick", seeds=1, store=tmp_path).cells) > 5


def test_a_run_goes_on_from_the_records_of_another(results: Results, folder: Path, tmp_path: Path) -> None:
    found = genbench.run(**TOYS, jobs=0, store=tmp_path / "store", records=folder / "store" / "records")
    assert found.ran == 0
    assert [one.result for one in found.records] == [one.result for one in results.records]


def test_records_name_the_call_that_repeats_them(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", "my mirror")
    assert shell_line(["genbench", "run", "a b"]) == "GENBENCH_HUB_MIRROR='my mirror' genbench run 'a b'"
    command = results.records[0].run.command
    assert command.startswith('python -c \'import genbench; print(genbench.run(datasets="toy-data", ')
    assert "store=" not in command
    assert str(PLUGIN) in command
