"""Metrics, spans and the operational log say of a guarded run what its audit log says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.cli.main import main
from guardsteer.core.events import (
    ActivationEnded,
    ClassifierRestored,
    ClassifierTripped,
    Event,
    FlagChanged,
    RequestEnded,
    RequestStarted,
    RowHalted,
    RowRevised,
    RuleFired,
    RuleReleased,
)
from guardsteer.errors import RequestError, UnsupportedError
from guardsteer.telemetry import Observer, OpenTelemetrySpans, OperationalLog, PrometheusMetrics
from guardsteer.telemetry.catalogue import METRICS
from guardsteer.telemetry.dashboard import dashboard
from tests.runtime.harness import POLICY, SPECIAL, Bench, batch, bench, policy_file

PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
HALTING = (
    POLICY
    + """
  - id: enough
    when: step >= 9 && up
    halt: true
  - id: watched
    when: said.score >= 0.2
    add: {vector: one, strength: 0.9}
fallback: That is all.
binding: {rules: {watched: shadow}}
"""
)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "telemetry.md"


@pytest.fixture(scope="module")
def made() -> Bench:
    return bench("llama")


def guarded(made: Bench, folder: Path, observers: Sequence[Observer], **options: Any) -> Any:
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, HALTING),
        vectors=made.vectors,
        classifiers=made.classifiers,
        observers=observers,
        **options,
    )


def generate(guard: Any) -> None:
    names = [{"request": f"r{place}", "tenant": "acme"} for place in range(len(PROMPTS))]
    guard.generate(
        **batch(PROMPTS), max_new_tokens=14, do_sample=False, suppress_tokens=list(SPECIAL), guard=names
    )


def of(events: list[Event], kind: type) -> Iterator[Any]:
    return (event for event in events if isinstance(event, kind))


def told(folder: Path) -> list[Any]:
    return [stored.event for stored in read(folder)]


def values(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return a metric's samples by the values of its labels, in their order in the catalogue."""
    (metric,) = [metric for metric in METRICS if metric.name == name]
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_metrics_count_what_the_audit_log_holds(made: Bench, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    with guarded(made, tmp_path, [PrometheusMetrics(registry)], audit=tmp_path / "log") as guard:
        generate(guard)
        digest = guard.policy.digest
    events = told(tmp_path / "log")
    ended = list(of(events, RequestEnded))
    assert Counter(end.reason for end in ended)["halted"], "some row must be halted"
    assert values(registry, "guardsteer_rows_total") == {
        ("scripted", "enforce", "", reason, ""): count
        for reason, count in Counter(end.reason for end in ended).items()
    }
    assert values(registry, "guardsteer_generated_tokens_total") == {
        ("scripted",): sum(end.generated_tokens for end in ended)
    }
    assert values(registry, "guardsteer_steered_tokens_total") == {
        ("scripted", ""): sum(end.steered_tokens for end in ended)
    }
    assert values(registry, "guardsteer_prompt_tokens_total") == {("scripted",): sum(map(len, PROMPTS))}
    assert values(registry, "guardsteer_flag_changes_total") == Counter(
        (change.flag, str(change.up).lower(), "") for change in of(events, FlagChanged)
    )
    assert values(registry, "guardsteer_rule_firings_total") == Counter(
        (fired.rule, fired.mode, "") for fired in of(events, RuleFired)
    )
    positions: Counter[tuple[str, ...]] = Counter()
    for activation in of(events, ActivationEnded):
        positions[activation.rule, activation.vector, activation.mode, ""] += activation.tokens
    assert {labels[2] for labels in positions} == {"enforce", "shadow"}
    assert values(registry, "guardsteer_activation_tokens_total") == positions
    assert values(registry, "guardsteer_halts_total") == Counter(
        (halt.rule, halt.mode, "") for halt in of(events, RowHalted)
    )
    assert values(registry, "guardsteer_rows_active") == {(): 0}
    assert registry.get_sample_value("guardsteer_row_duration_seconds_count", {"policy": "scripted"}) == len(
        PROMPTS
    )
    enforced = [each for each in of(events, ActivationEnded) if each.mode == "enforce"]
    assert sum(
        registry.get_sample_value("guardsteer_activation_strength_count", {"vector": name}) or 0
        for name in made.vectors
    ) == len(enforced)
    assert values(registry, "guardsteer_policy_info") == {}, "a guard that is off has no policy in force"
    assert digest


def test_metrics_tell_what_is_in_force_and_how_the_log_fares(made: Bench, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    journal = open_journal(tmp_path / "log")
    with guarded(made, tmp_path, [PrometheusMetrics(registry)], audit=journal) as guard:
        guard.stop("drill")
        guard._auditor._feed.flush()
        (labels,) = values(registry, "guardsteer_policy_info")
        assert labels[1:] == ("scripted", guard.policy.digest, "", "")
        assert values(registry, "guardsteer_steering_stopped") == {(): 1}
        guard.resume()
        guard._auditor._feed.flush()
        assert values(registry, "guardsteer_steering_stopped") == {(): 0}
    assert values(registry, "guardsteer_audit_dropped_records") == {(): 0}
    journal.close()
    journal.append(told(tmp_path / "log")[-1])
    assert values(registry, "guardsteer_audit_dropped_records") == {(): 1}


def test_a_classifier_that_rests_shows_until_it_is_back() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    common: dict[str, Any] = {"time_ns": 1, "guard": "g", "classifier": "tone"}
    metrics.observe(ClassifierTripped(**common, failures=3, rest_s=1.0, error="E"), None)
    assert values(registry, "guardsteer_classifier_resting") == {("tone",): 1}
    metrics.observe(ClassifierRestored(**common), None)
    assert values(registry, "guardsteer_classifier_resting") == {("tone",): 0}


def test_wrap_refuses_what_is_no_observer_before_it_opens_a_log(made: Bench, tmp_path: Path) -> None:
    watching: Any = [PrometheusMetrics]
    with pytest.raises(UnsupportedError, match="make one of it"):
        guarded(made, tmp_path, watching, audit=tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_a_registry_holds_the_metrics_once() -> None:
    registry = CollectorRegistry()
    PrometheusMetrics(registry)
    with pytest.raises(UnsupportedError, match="share one between guards"):
        PrometheusMetrics(registry)


def test_revised_tokens_are_counted() -> None:
    registry = CollectorRegistry()
    revised = RowRevised(
        time_ns=1, request="r", sequence=0, step=4, rule="again", position=9, dropped=5, revision=1
    )
    PrometheusMetrics(registry).observe(revised, None)
    assert values(registry, "guardsteer_revised_tokens_total") == {("again", "enforce", ""): 5}


def test_a_call_that_raises_ends_its_rows_as_failed(made: Bench, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    provider, exporter = tracing()
    observers: list[Observer] = [PrometheusMetrics(registry), OpenTelemetrySpans(provider)]

    def stop(*_: Any) -> Any:
        raise RequestError("enough")

    with guarded(made, tmp_path, observers) as guard, pytest.raises(RequestError):
        guard.generate(**batch(PROMPTS), max_new_tokens=4, do_sample=False, stopping_criteria=[stop])
    assert values(registry, "guardsteer_rows_total") == {("scripted", "enforce", "", "failed", ""): 3}
    assert values(registry, "guardsteer_rows_active") == {(): 0}
    rows = [span for span in exporter.get_finished_spans() if span.name == "guardsteer.row"]
    assert [span.status.status_code for span in rows] == [trace.StatusCode.ERROR] * 3


def tracing() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_each_row_is_a_span_below_the_callers_with_its_decisions_and_activations(
    made: Bench, tmp_path: Path
) -> None:
    provider, exporter = tracing()
    with guarded(made, tmp_path, [OpenTelemetrySpans(provider)], audit=tmp_path / "log") as guard:
        with trace.get_tracer("app", tracer_provider=provider).start_as_current_span("answer") as caller:
            generate(guard)
        above = caller.get_span_context()
    events = told(tmp_path / "log")
    spans = exporter.get_finished_spans()
    rows = {attributes(span)["guardsteer.request"]: span for span in spans if span.name == "guardsteer.row"}
    assert sorted(rows) == ["r0", "r1", "r2"]
    for request, span in rows.items():
        own = [event for event in events if getattr(event, "request", None) == request]
        (started,), (ended,) = of(own, RequestStarted), of(own, RequestEnded)
        assert span.parent is not None
        assert (span.parent.span_id, span.context.trace_id) == (above.span_id, above.trace_id)
        assert (span.start_time, span.end_time) == (started.time_ns, ended.time_ns)
        found = attributes(span)
        assert found["guardsteer.policy"] == "scripted"
        assert found["guardsteer.tenant"] == "acme"
        assert found["gen_ai.usage.input_tokens"] == started.prompt_tokens
        assert found["gen_ai.usage.output_tokens"] == ended.generated_tokens
        assert found["guardsteer.reason"] == ended.reason
        assert Counter(event.name for event in span.events) == Counter(
            {
                "guardsteer.flag": len(list(of(own, FlagChanged))),
                "guardsteer.rule.fired": len(list(of(own, RuleFired))),
                "guardsteer.rule.released": len(list(of(own, RuleReleased))),
                "guardsteer.halted": len(list(of(own, RowHalted))),
            }
        )
        below = [
            attributes(child)
            for child in spans
            if child.parent is not None and child.parent.span_id == span.context.span_id
        ]
        assert sorted(
            (a["guardsteer.vector"], a["guardsteer.first"], a["guardsteer.last"]) for a in below
        ) == sorted((each.vector, each.first, each.last) for each in of(own, ActivationEnded))


def test_the_operational_log_names_the_request_and_holds_no_context(made: Bench, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs, guarded(made, tmp_path, [OperationalLog()]) as guard:
        generate(guard)
    ended = [entry for entry in logs if entry["event"] == "request.ended"]
    assert [entry["request"] for entry in ended] == ["r0", "r1", "r2"]
    assert {entry["event"] for entry in logs} == {"policy.adopted", "request.ended", "row.halted"}
    assert "acme" not in str(logs)


def test_a_run_that_is_watched_has_the_same_tokens_and_needs_no_audit(made: Bench, tmp_path: Path) -> None:
    results = []
    watching: list[Observer] = [PrometheusMetrics(CollectorRegistry()), OperationalLog()]
    observers: list[Observer]
    for observers in ([], watching):
        with structlog.testing.capture_logs(), guarded(made, tmp_path, observers) as guard:
            results.append(guard.generate(**batch(PROMPTS), max_new_tokens=10, do_sample=False).tolist())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [
        ("prometheus_client", "PrometheusMetrics", "prometheus"),
        ("opentelemetry", "OpenTelemetrySpans", "opentelemetry"),
    ],
)
def test_a_missing_extra_is_named(
    module: str, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=rf"pip install .guardsteer\[{extra}\]"):
        getattr(guardsteer.telemetry, name)()


def test_telemetry_loads_neither_torch_nor_an_extra() -> None:
    code = (
        "import sys, guardsteer.telemetry; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'prometheus_client', 'opentelemetry')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_dashboard_asks_for_metrics_and_labels_that_exist_and_leaves_none_out() -> None:
    labels = {metric.name: {*metric.labels} for metric in METRICS}
    labels.update(
        {f"{metric.name}_bucket": {*metric.labels, "le"} for metric in METRICS if metric.kind == "histogram"}
    )
    shown = set()
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            names = set(re.findall(r"guardsteer_\w+", expression))
            assert names
            assert names <= set(labels), expression
            shown |= names
            used = set(re.findall(r'(\w+)="', expression))
            used |= {
                label.strip()
                for group in re.findall(r"by \(([^)]*)\)", expression)
                for label in group.split(",")
            }
            used |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert used <= set.union(*(labels[name] for name in names)), expression
    assert {"guardsteer_steering_stopped", "guardsteer_audit_failed"} <= shown
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"].values()) for panel in panels]
    cells = [(x, y) for left, top, w, h in places for x in range(left, left + w) for y in range(top, top + h)]
    assert len(cells) == len(set(cells)), "no panel lies on another"


def test_the_command_prints_the_metrics_and_the_dashboard(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["telemetry", "metrics"]) == 0
    listed = capsys.readouterr().out
    assert all(metric.name in listed and metric.says in listed for metric in METRICS)
    assert main(["telemetry", "metrics", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["metrics"]) == len(METRICS)
    assert main(["telemetry", "dashboard"]) == 0
    assert json.loads(capsys.readouterr().out) == dashboard()


def test_the_page_lists_every_metric_with_its_labels() -> None:
    page = DOCUMENT.read_text(encoding="utf-8")
    rows = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(
            r"^\| `(guardsteer_\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE
        )
    }
    assert rows == {metric.name: (metric.kind, set(metric.labels)) for metric in METRICS}
