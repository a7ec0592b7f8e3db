"""The examples for MLflow, Weights & Biases and OpenTelemetry: each is run, and read back."""

import http.server
import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
import sysconfig
import threading
import venv
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genbench import telemetry
from genbench.planner import make_plan
from genbench.records import Record
from genbench.registry import PluginSource, Registry
from genbench.runner import Observer, run
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite
from genbench.worker import RunOptions

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples" / "telemetry"
TOYS = {
    "name": "toys",
    "datasets": ["toy-data"],
    "classifiers": ["toy-net"],
    "reference": "toy-net",
    "seeds": 1,
    "evaluators": ["accuracy"],
    "preset": "smoke",
}


def observed(folder: Path, *plugins: str, **entries: Any) -> Any:
    """Run toys in this process with some of the plugins; return the records and the plan."""
    named = [str(EXAMPLES / f"{plugin}.py") for plugin in plugins]
    files = (str(ROOT / "tests" / "toy_plugin.py"), *named)
    registry, store = Registry(PluginSource(files=files, third_party=False)), Store(folder / "store")
    suite = make_suite({**TOYS, "generators": ["toy"], **entries}, "test")
    plan, notices = make_plan(resolve_suite(registry, suite, store.fingerprint)), list[str]()
    summary = run(plan, store, registry, RunOptions(jobs=0), Observer(notice=notices.append))
    assert [one for one in notices if "plugin" in one] == []
    return SimpleNamespace(records=summary.records, plan=plan, folder=folder)


def cell_of(records: list[Record]) -> Record:
    """Return the record of the network that synthetic images helped to train."""
    (found,) = [one for one in records if one.result.subject == "cell" and one.result.generator.use == "toy"]
    return found


# ------------------------------------------------------------------------------------------ OpenTelemetry


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The spans that are exported, by a provider that somebody set up in this process."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)  # the real one is set once a process
    yield exporter
    provider.shutdown()


def test_a_trace_has_a_span_for_each_step(
    spans: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.trace import StatusCode

    parent = f"{'a' * 31}1", f"{'b' * 15}2"
    monkeypatch.setenv("TRACEPARENT", f"00-{parent[0]}-{parent[1]}-01")
    done = observed(tmp_path, "telemetry_otel")
    *steps, whole = spans.get_finished_spans()
    assert whole.name == "genbench run toys"
    assert f"{whole.context.trace_id:032x}" == parent[0]
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == parent[1]
    assert whole.attributes["genbench.steps"] == len(done.plan.steps) == len(steps)
    assert whole.status.status_code == StatusCode.OK
    by_key = {span.attributes["genbench.step.key"]: span for span in steps}
    for key, step in done.plan.steps.items():
        span = by_key[key]
        assert (span.name, span.attributes["genbench.step.stage"]) == (step.label, step.stage)
        assert span.parent.span_id == whole.context.span_id
        assert whole.start_time <= span.start_time < span.end_time <= whole.end_time
        linked = {link.context.span_id for link in span.links}
        assert linked == {by_key[needed].context.span_id for needed in step.inputs.values()}
        assert span.attributes["genbench.step.peak_memory_bytes"] > 2**20
    evaluated = by_key[cell_of(done.records).result.key].attributes
    assert evaluated["genbench.measured.top1"] == telemetry.numbers(cell_of(done.records))["top1"]


def test_a_failed_step_is_a_span_with_its_reason(spans: Any, tmp_path: Path) -> None:
    from opentelemetry.trace import StatusCode

    observed(tmp_path, "telemetry_otel", generators=["toy:fault=raise"])
    *steps, whole = spans.get_finished_spans()
    (failed,) = [span for span in steps if span.status.status_code == StatusCode.ERROR]
    assert failed.status.description == "RuntimeError: the toy broke"
    assert failed.attributes["genbench.step.stage"] == "fit"
    assert whole.status.status_code == StatusCode.ERROR
    assert "the toy broke" in whole.status.description


class _Collector(http.server.BaseHTTPRequestHandler):
    """Takes what OTLP posts, as a collector does."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: tests are quiet."""


def test_spans_are_posted_to_where_the_environment_says(tmp_path: Path) -> None:
    """In a process of its own: a provider is set up once in a process, and flushed when that ends."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    server.posted = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = f"""
import sys; sys.path.insert(0, {str(EXAMPLES)!r})
from datetime import UTC, datetime
import telemetry_otel as plugin
from genbench.telemetry import RunFacts
run = RunFacts("r", "toys", "genbench run", datetime.now(UTC), "h", 1, "0", "s", "ray", "cpu", 1, 2, 3, 3)
plugin.genbench_run_started(run)
plugin.genbench_run_finished(run, "done", "", ())
"""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_SERVICE_NAME": "our-cluster",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    ((path, body),) = server.posted  # type: ignore[attr-defined]
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    about = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert about["service.name"] == "our-cluster"
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["genbench run toys"]


# -------------------------------------------------------------------------------- MLflow, Weights & Biases


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A run that both track."""
    for name in ("mlflow", "wandb"):
        pytest.importorskip(name, reason=f"{name} is not installed here: see the last test")
    folder = tmp_path_factory.mktemp("tracked")
    settings = {
        "MLFLOW_TRACKING_URI": "sqlite:///tracked.db",
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
        "WANDB_ERROR_REPORTING": "false",
    }
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they use what SQLAlchemy and others deprecate
        patch.chdir(folder)
        for name, value in settings.items():
            patch.setenv(name, value)
        both = ("telemetry_mlflow", "telemetry_wandb")
        yield observed(folder, *both, evaluators=["accuracy", "fid"])


def test_mlflow_has_a_child_for_each_cell(tracked: Any) -> None:
    from mlflow import MlflowClient

    done, client = tracked, MlflowClient("sqlite:///tracked.db")
    experiment = client.get_experiment_by_name("genbench")
    assert experiment is not None
    found = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    whole = found.pop("toys")
    assert whole.data.metrics["steps_done"] == len(done.plan.steps)
    boards = [file.path for file in client.list_artifacts(whole.info.run_id)]
    assert boards == ["leaderboard.html", "leaderboard.md"]
    assert found.keys() == {telemetry.title(record) for record in done.records}
    assert len(found) == 3  # two cells and an image set
    for one in (whole, *found.values()):
        assert one.info.status == "FINISHED"
    assert {one.data.tags["mlflow.parentRunId"] for one in found.values()} == {whole.info.run_id}

    record = cell_of(done.records)
    cell = found[telemetry.title(record)]
    assert cell.data.params["generator.noise"] == "0.1"
    assert cell.data.metrics["top1"] == pytest.approx(telemetry.numbers(record)["top1"])
    assert cell.data.metrics["seconds.train"] > 0
    assert {"top1.noisy", "fid.reference.train"} <= {
        name for one in found.values() for name in one.data.metrics
    }
    curve = client.get_metric_history(cell.info.run_id, "train/train_loss")
    told = [(row["step"], row["train_loss"]) for row in record.run.curves["train"]]
    assert sorted((point.step, point.value) for point in curve) == [
        (step, pytest.approx(loss)) for step, loss in told
    ]
    (file,) = client.list_artifacts(cell.info.run_id, "records")
    text = Path(client.download_artifacts(cell.info.run_id, file.path)).read_text()
    assert Record.from_json(text).result_digest == record.result_digest


def test_wandb_has_a_run_for_each_cell(tracked: Any) -> None:
    done = tracked
    runs: dict[str, Any] = {}
    for file in sorted(done.folder.glob("wandb/offline-run-*/*.wandb")):
        written = list(wandb_records(file))
        (about,) = [one.run for one in written if one.HasField("run")]
        history = [
            {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in one.history.item}
            for one in written
            if one.HasField("history")
        ]
        summary = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for one in written
            if one.HasField("summary")
            for item in one.summary.update
        }
        config = {item.key: item.value_json for item in about.config.update}
        exits = [one.exit.exit_code for one in written if one.HasField("exit")]
        runs[about.display_name] = SimpleNamespace(
            about=about, history=history, summary=summary, config=config, exits=exits
        )
    whole = runs.pop("toys")
    assert whole.summary["status"] == "done"
    assert whole.summary["steps_done"] == len(done.plan.steps)
    assert "leaderboard/path" in whole.summary
    assert {one.about.run_group for one in runs.values()} == {whole.about.run_group}
    assert runs.keys() == {telemetry.title(record) for record in done.records}
    assert sorted(one.about.job_type for one in runs.values()) == ["cell", "cell", "image_set"]
    assert all(one.exits == [0] for one in (whole, *runs.values()))

    record = cell_of(done.records)
    cell = runs[telemetry.title(record)]
    assert json.loads(cell.config["generator.noise"]) == 0.1
    assert cell.summary["top1"] == pytest.approx(telemetry.numbers(record)["top1"])
    assert "top1[noisy]" in cell.summary
    told = [(row["step"], row["train_loss"]) for row in record.run.curves["train"]]
    logged = [(row["train/step"], row["train/train_loss"]) for row in cell.history if "train/step" in row]
    assert logged == [(step, pytest.approx(loss)) for step, loss in told]


def wandb_records(file: Path) -> Iterator[Any]:
    """Read what wandb wrote offline: a log in LevelDB's format, of messages that its own classes parse."""
    from wandb.proto.wandb_internal_pb2 import Record as Message

    content, at, message = file.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # no header is split: the rest of the block is empty
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        message += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in {1, 4}:  # whole, or its last part
            yield Message.FromString(message)
            message = b""


@pytest.mark.slow(reason="installs MLflow and wandb, 160 MB, in an environment of their own")
@pytest.mark.timeout(900)
def test_mlflow_and_wandb_in_an_environment_of_their_own(tmp_path: Path) -> None:
    """They bring forty packages, and MLflow wants an older importlib_metadata than others have."""
    if all(importlib.util.find_spec(name) for name in ("mlflow", "wandb")):
        pytest.skip("they are installed here, and tested above")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "running_environment.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"  # with its own .pth files
    )
    pins = (ROOT / "constraints.txt").read_text()
    (tmp_path / "pins.txt").write_text(re.sub(r"(?m)^importlib_metadata==.*", "importlib_metadata<10", pins))
    install = [
        "install",
        "--quiet",
        "--no-compile",
        "-c",
        str(tmp_path / "pins.txt"),
        "mlflow-skinny>=3.7",
        "wandb",
    ]
    pip = [sys.executable, "-m", "pip", "--python", str(python), *install]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "No matching distribution" in done.stderr:
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr
    tests = ["-q", "-n", "0", "-p", "no:cacheprovider", "-k", "mlflow_has or wandb_has", __file__]
    done = subprocess.run(
        [str(python), "-m", "pytest", *tests], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^2 passed", done.stdout, re.MULTILINE), done.stdout
