"""A run as a trace of OpenTelemetry, a span per step: `--plugin telemetry_otel.py`.

OpenTelemetry's own variables say where it goes: `OTEL_TRACES_EXPORTER` (else `otlp`; `console` prints spans),
`OTEL_EXPORTER_OTLP_PROTOCOL` (else `http/protobuf`), `OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`. A `TRACEPARENT` makes the run a
part of somebody's trace. Needs `opentelemetry-sdk` and `opentelemetry-exporter-otlp-proto-http`.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import entry_points
from typing import Any

import genbench
from genbench.records import Record
from genbench.telemetry import RunFacts, StepFacts, numbers


class _Traced:
    """A run as a trace: a span for the whole, and one below it for each step that ran."""

    def __init__(self, run: RunFacts) -> None:
        from opentelemetry import propagate, trace

        self._trace = trace
        self._tracer = trace.get_tracer("genbench", run.version, tracer_provider=_provider())
        self._done: dict[str, Any] = {}  # contexts of spans, by the key of the step
        self._whole = self._tracer.start_span(
            f"genbench run {run.suite}",
            context=propagate.extract({"traceparent": os.environ.get("TRACEPARENT", "")}),
            start_time=_nanoseconds(run.started),
            attributes={
                "genbench.run.id": run.id,
                "genbench.suite": run.suite,
                "genbench.command": run.command,
                "genbench.cells": run.cells,
                "genbench.steps": run.steps,
                "genbench.steps.missing": run.missing,
                "genbench.executor": run.executor,
                "genbench.jobs": run.jobs,
                "host.name": run.host,
                "process.pid": run.process,
            },
        )
        self._inside = trace.set_span_in_context(self._whole)

    def step(self, step: StepFacts) -> None:
        """Add the span of a step, with links to the steps whose results it read."""
        needed = [self._done[key] for key in step.inputs.values() if key in self._done]
        span = self._tracer.start_span(
            step.label,
            context=self._inside,
            links=[self._trace.Link(one) for one in needed],
            start_time=_nanoseconds(step.started),
            attributes={
                "genbench.step.key": step.key,
                "genbench.step.stage": step.stage,
                "genbench.step.status": step.status,
                "genbench.step.seed": step.seed,
                "genbench.step.attempt": step.attempt,
                "genbench.step.device": step.device,
                "genbench.step.peak_memory_bytes": step.peak_memory_bytes,
                "host.name": step.host,
            },
        )
        if step.record is not None:
            measured = numbers(step.record).items()
            span.set_attributes({f"genbench.measured.{name}": value for name, value in measured})
        self._set_status(span, step.status, step.reason)
        span.end(_nanoseconds(step.ended))
        self._done[step.key] = span.get_span_context()

    def finish(self, status: str, reason: str) -> None:
        """End the span of the run, and see that all are sent: in seconds, or not at all."""
        self._whole.set_attribute("genbench.status", status)
        self._set_status(self._whole, status, reason)
        self._whole.end()
        provider: Any = _provider()
        if hasattr(provider, "force_flush"):  # the interface has none, what implements it does
            provider.force_flush(10_000)

    def _set_status(self, span: Any, status: str, reason: str) -> None:
        if status == "done":
            span.set_status(self._trace.StatusCode.OK)
        else:
            span.set_status(self._trace.StatusCode.ERROR, reason or status)


def _provider() -> Any:
    """Return the provider that somebody set up for this process; else one that the environment describes."""
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody did
        service = os.environ.get("OTEL_SERVICE_NAME", "genbench")
        provider = TracerProvider(resource=Resource.create({"service.name": service}))
        provider.add_span_processor(BatchSpanProcessor(_exporter()))
        trace.set_tracer_provider(provider)
    return trace.get_tracer_provider()


def _exporter() -> Any:
    """Build the exporter that the environment names, which its package registers under that name."""
    name = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        name = {"grpc": "otlp_proto_grpc"}.get(protocol, "otlp_proto_http")
    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise LookupError(
            f"no exporter {name!r}: pip install opentelemetry-exporter-{name.replace('_', '-')}"
        )
    return found[0].load()()


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


_runs: dict[str, _Traced] = {}  #: by `RunFacts.id`: `genbench replay` and `tune` have several


@genbench.hookimpl
def genbench_run_started(run: RunFacts) -> None:
    """Open the trace."""
    _runs[run.id] = _Traced(run)


@genbench.hookimpl
def genbench_step_finished(step: StepFacts, run: RunFacts) -> None:
    """Add a span."""
    _runs[run.id].step(step)


@genbench.hookimpl
def genbench_run_finished(run: RunFacts, status: str, reason: str, records: Sequence[Record]) -> None:
    """End the trace."""
    _runs.pop(run.id).finish(status, reason)
