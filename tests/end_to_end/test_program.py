"""The program as a user runs it: whole processes, on toys, with everything that can go wrong."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from genbench.attempts import key_of
from genbench.records import Record, read_records
from toy_program import RUN_OF_TOYS, TOY_PLUGIN, TOYS, Program, command

Finished = subprocess.CompletedProcess[str]


def run_toys(
    program: Program, *more: str, store: str = "store", out: str = "out"
) -> subprocess.CompletedProcess[str]:
    return program("run", *TOYS, "--seeds", "2", "-o", out, *more, store=store)


def results(tmp_path: Path, out: str = "out") -> dict[tuple[str, int, str], str]:
    """Return the digest of every result by (generator, index, evaluator)."""
    return {
        (r.result.generator.label, r.result.index, r.result.evaluator.use): r.result_digest
        for r in read_records([tmp_path / out])
    }


def record_of(tmp_path: Path, generator: str, evaluator: str = "accuracy", out: str = "out") -> Record:
    return next(
        record
        for record in read_records([tmp_path / out])
        if record.result.generator.label == generator and record.result.evaluator.use == evaluator
    )


@pytest.mark.slow(reason="a run with its workers")
def test_a_run_prints_the_table_writes_it_and_is_cached_afterwards(
    finished: Finished, program: Program, tmp_path: Path
) -> None:
    first = finished
    assert [line for line in first.stderr.splitlines() if not line.startswith(("[", "  ", "4 cells"))] == []
    assert "toy" in first.stdout
    assert "top-1" in first.stdout
    folder = tmp_path / "out" / "toy-data-toy-toy-net"
    page = (folder / "leaderboard.md").read_text()
    assert "| toy " in page
    linked = re.search(r"\[(\d+) pictures of these cells\]\(pictures\.md\)", page)
    assert linked
    assert int(linked[1]) == len(list((folder / "pictures").glob("*.png"))) > 0
    assert json.loads((folder / "leaderboard.json").read_text())
    mixed, plain = (record_of(tmp_path, name).result.ledger.synthetic for name in ("toy", "none"))
    assert mixed is not None
    assert mixed.consumed_images > 0
    assert plain is not None
    assert plain.consumed_images == 0
    again = program(*RUN_OF_TOYS)
    assert "nothing to run, all is cached" in again.stderr
    said = again.stdout.partition("Repeat with")  # which is the command as it was typed
    assert said[0] == first.stdout.partition("Repeat with")[0]
    assert said[2]


@pytest.mark.slow(reason="five programs")
def test_the_same_records_give_the_same_bytes(finished: Finished, program: Program, here: Program) -> None:
    renderings = {
        run("leaderboard", "out", "--format", form).stdout
        for form in ("markdown", "text", "csv", "json")
        for run in (program, here)
    }
    assert len(renderings) == 4
    assert here("leaderboard").returncode == 0  # the store's own records


@pytest.mark.slow(reason="two runs")
def test_workers_inline_and_other_stores_agree_bit_for_bit(
    finished: Finished, program: Program, here: Program, tmp_path: Path
) -> None:
    """The finished run had two workers."""
    run_toys(here, "-g", "toy", "--jobs", "0", store="b", out="b-out")
    run_toys(program, "-g", "toy", "--jobs", "1", "-g", "toy:noise=0.9", store="c", out="c-out")
    two, inline, wider = (results(tmp_path, out) for out in ("out", "b-out", "c-out"))
    assert two == inline
    assert {key: wider[key] for key in two} == two
    assert len(wider) > len(two)


FAULTS = {
    "raise": "RuntimeError: the toy broke",
    "kill": "killed by SIGKILL",
    "exit": "SystemExit: 7",
    "user": "the toy is out of paint",
    "hang": "no end within 25 s",
}


@pytest.mark.slow(reason="a run with its workers, two steps of it until their time limit")
def test_a_fault_is_a_failed_cell_and_the_rest_is_run(
    finished: Finished, program: Program, here: Program, tmp_path: Path
) -> None:
    """What is sound is in the store already."""
    generators = [word for fault in FAULTS for word in ("-g", f"toy:fault={fault}")]
    done = run_toys(program, "-g", "toy", *generators, "--step-timeout", "25", "--jobs", "2")
    assert done.returncode == 1
    assert record_of(tmp_path, "toy").result.status == "ok"
    for fault, reason in FAULTS.items():
        failed = record_of(tmp_path, f"toy:fault={fault}")
        assert failed.result.status == "failed"
        assert reason in failed.result.reason
        assert reason in (tmp_path / "store" / failed.run.log).read_text()
        assert reason in done.stderr
        assert reason in " ".join(done.stdout.split())  # the leaderboard lists it, folded to the width
    planned = here("plan", *TOYS, "--seeds", "2", *generators)
    assert planned.stdout.count("failed: fit toy") == 5
    assert f"... and {2 * len(FAULTS) - 5} more failed steps" in planned.stdout
    assert f"{2 * len(FAULTS)} failures forgotten" in here("retry").stdout
    assert "0 failures forgotten" in here("retry").stdout


def _heed_ctrl_c() -> None:
    """Undo what a shell does to programs behind its `&`: they ignore Ctrl-C, and so would their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_and_wait_for_checkpoint(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    line, environment = command(tmp_path, *arguments)
    process = subprocess.Popen(
        line,
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 - this process has one thread
    )
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        for checkpoint in (tmp_path / "store" / "work").glob("*/checkpoint.json"):
            log = tmp_path / "store" / "logs" / f"{key_of(checkpoint.parent)}.log"
            if "fit toy" in log.read_text():
                return process
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint appeared: {process.communicate()}")


SLOW = "toy:seconds_per_iteration=0.2,fit_iterations=25"


@pytest.mark.slow(reason="three runs, two of them with a fit of 5 s")
def test_kill_9_resumes_to_byte_identical_results(program: Program, tmp_path: Path) -> None:
    arguments = ("run", *TOYS, "--seeds", "1", "-g", SLOW, "--jobs", "1", "--checkpoint-every", "0.5")
    process = start_and_wait_for_checkpoint(tmp_path, *arguments, "-o", "killed")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list((tmp_path / "killed").glob("*/records/*"))
    assert list((tmp_path / "store" / "leases").glob("*")) != []
    resumed = program(*arguments, "-o", "resumed")
    assert resumed.returncode == 0, resumed.stderr
    assert "waiting for" not in resumed.stderr  # the dead are not waited for
    log = next(
        path.read_text() for path in (tmp_path / "store" / "logs").glob("*") if "fit toy" in path.read_text()
    )
    assert "resumes from a checkpoint" in log
    untouched = program(*arguments, "-o", "untouched", store="other")
    assert untouched.returncode == 0, untouched.stderr
    assert results(tmp_path, "resumed") == results(tmp_path, "untouched") != {}
    costs = record_of(tmp_path, SLOW, out="resumed").run.costs
    fit = next(cost.seconds for cost in costs if cost.stage == "fit")
    assert fit >= 25 * 0.2  # both attempts: the second alone took less


@pytest.mark.slow(reason="two runs with a fit of 5 s")
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(program: Program, tmp_path: Path) -> None:
    arguments = (
        "run",
        *TOYS,
        "--seeds",
        "1",
        "-g",
        SLOW,
        "--jobs",
        "2",
        "--checkpoint-every",
        "0.5",
        "-o",
        "out",
    )
    process = start_and_wait_for_checkpoint(tmp_path, *arguments)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "stopped; the same command resumes" in errors
    assert "Traceback" not in errors
    assert list((tmp_path / "store" / "leases").glob("*")) == []
    done = program(*arguments)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stderr


@pytest.mark.slow(reason="a run with its workers, and two programs that look at the store")
def test_a_damaged_artifact_is_reported_and_made_again(
    finished: Finished, program: Program, here: Program, tmp_path: Path
) -> None:
    before = results(tmp_path)
    evaluations = list((tmp_path / "store" / "artifacts").rglob("evaluation.json"))
    evaluations[0].write_text(evaluations[0].read_text().replace("1", "2", 1))
    verified = program("store", "verify")
    assert verified.returncode == 4
    assert "evaluation.json: content differs from the manifest" in verified.stderr
    again = run_toys(program, "-g", "toy", out="again")
    assert "damaged" in again.stderr
    assert again.returncode == 0
    assert results(tmp_path, "again") == before
    assert here("store", "verify").returncode == 0
    assert here("store", "gc").returncode == 0


def test_plan_and_why_explain_without_running(finished: Finished, here: Program, tmp_path: Path) -> None:
    program = here
    fresh = program("plan", *TOYS, "--seeds", "2", "-g", "toy", store="empty")
    assert "toy-data/toy/x1-standard/toy-net/1" in fresh.stdout
    assert "time: unknown. No estimate of " in fresh.stdout
    declared = "contrasts declared: 1 with none, 0 with copies or free augmentation; seeds that confirm: 2"
    assert declared in fresh.stdout
    assert not (tmp_path / "empty" / "artifacts").exists()
    assert "nothing to run" in program("plan", *TOYS, "--seeds", "2", "-g", "toy").stdout
    more = program("plan", *TOYS, "--seeds", "3", "-g", "toy")
    assert "by earlier runs in this store" in more.stdout
    assert "unknown" not in more.stdout
    assert "no verdict: it takes 5 seeds" in more.stdout
    content = json.loads(program("plan", *TOYS, "--seeds", "3", "-g", "toy", "--json").stdout)
    assert {cell["state"] for cell in content["cells"]} == {"cached", "new"}
    why = program(
        "why", "toy-data/toy/x1-standard/toy-net/0", *TOYS, "--seeds", "2", "-g", "toy", "--ratio", "1"
    )
    assert "cached" in why.stdout
    other = program(
        "why", "toy-data/toy:noise=0.9/x1-standard/toy-net/0", *TOYS, "--seeds", "2", "-g", "toy:noise=0.9"
    )
    assert "component.config.noise: stored 0.1, wanted 0.9" in other.stdout
    wrong = program("why", "toy-data/nothing", *TOYS, "-g", "toy")
    assert wrong.returncode == 2
    assert "no cell 'toy-data/nothing'" in wrong.stderr


def test_a_changed_version_makes_results_stale(finished: Finished, program: Program, tmp_path: Path) -> None:
    text = TOY_PLUGIN.read_text().replace(
        '"ToyGenerator", needs_fit=True', '"ToyGenerator", version=2, needs_fit=True'
    )
    (tmp_path / "toy_plugin.py").write_text(text)
    toys = [*TOYS[:-1], str(tmp_path / "toy_plugin.py")]
    planned = program("plan", *toys, "--seeds", "2", "-g", "toy")
    rows = {
        line.split()[0]: line.split()[1:]
        for line in planned.stdout.splitlines()
        if re.match(r"(fit|dataset) +\d", line)
    }
    assert rows["fit"] == ["2"]
    assert "stale" in planned.stdout
    assert "genbench why CELL" in planned.stdout


@pytest.mark.slow(reason="two runs, one with a room for each step")
def test_a_strangers_filter_is_made_up_for_in_rooms_as_in_one_process(
    program: Program, here: Program, tmp_path: Path
) -> None:
    toys = ("run", *TOYS, "--seeds", "1", "-g", "toy", "--filter", "toy-filter", "-e", "accuracy")
    apart = program(*toys, "-j", "1", "-o", "rooms")
    assert "sample toy x1 for toy-data, seed 0, top-up 1" in apart.stderr
    together = here(*toys, "-j", "0", "-o", "here", store="other")
    assert (apart.returncode, together.returncode) == (0, 0)
    assert results(tmp_path, "rooms") == results(tmp_path, "here")
    images = record_of(tmp_path, "toy", out="rooms").result.ledger.images
    assert images is not None
    assert (images.made_images, images.more_images, images.kept_images) == (240, 144, 120)


def test_changed_code_with_the_same_version_is_said(
    finished: Finished, program: Program, tmp_path: Path
) -> None:
    plugin = tmp_path / "toy_plugin.py"
    plugin.write_text(TOY_PLUGIN.read_text() + "\n# another day\n")
    again = program("run", *TOYS[:-1], str(plugin), "--seeds", "2", "-g", "toy", "-j", "0", "-o", "again")
    assert again.returncode == 0
    assert "nothing to run, all is cached" in again.stderr
    said = " ".join(again.stderr.split())
    found = re.search(
        "the code of toy_plugin.py changed since results of (.*) were cached, but their versions did not",
        said,
    )
    assert found
    components = {"dataset toy-data", "generator toy", "classifier toy-net"}  # one file has them all
    assert set(found[1].split(", ")) == components


@pytest.mark.slow(reason="two runs with their workers")
def test_two_programs_share_a_store(program: Program, tmp_path: Path) -> None:
    toys = ("run", *TOYS, "--seeds", "1", "-g", "toy", "--jobs", "1")
    line, environment = command(tmp_path, *toys, "-o", "one")
    other = subprocess.Popen(
        line, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    mine = program(*toys, "-o", "two")
    assert other.wait(timeout=200) == 0
    assert mine.returncode == 0, mine.stderr
    assert results(tmp_path, "one") == results(tmp_path, "two")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "name at least one classifier"),
        (["run", "-c", "resnet23"], 2, "Did you mean resnet32"),
        (["run", "-c", "cnn:recipe.epochs=-1"], 2, "option 'recipe.epochs' is -1"),
        (["run", "nowhere.toml"], 2, "neither a file nor a ready suite"),
        (["run", "-c", "cnn", "-d", "imagefolder:nowhere"], 2, "'nowhere' is not a folder"),
        (["run", "-c", "cnn", "-d", "cifar10"], 3, r"Tried: no mirror \(GENBENCH_HUB_MIRROR is not set\)"),
        (["show", "generator", "dpm"], 2, "Did you mean ddpm"),
        (["list", "generatrs"], 2, "Did you mean generators"),
        (["leaderboard"], 2, "no records found"),
        (["run", "-c", "cnn", "--mode", "replace", "--ratio", "2"], 2, "needs ratio <= 1"),
        (["nonsense"], 2, "no command 'nonsense'"),
    ],
)
def test_bad_input_says_what_is_allowed(here: Program, arguments: list[str], code: int, message: str) -> None:
    done = here(*arguments)
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_store_says_so(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_toys(program, "-g", "toy", "--store", str(tmp_path / "file" / "store"))
    assert done.returncode == 4
    assert "cannot write to the store" in done.stderr
    assert "Traceback" not in done.stderr
