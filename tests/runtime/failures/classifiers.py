"""Classifiers and probes that fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.core.events import ClassifierFailed, ClassifierLate, ClassifierTripped
from tests.runtime.failures.faults import BREAKS_AT, MENDS_AT, SEED, Failing, FailingProbe
from tests.runtime.failures.lines import CHOICES, POSITIONS, PROMPT, TOKENS, Line, bench_for, run, three, told
from tests.runtime.harness import Bench, Reference, policy_file, score_of

__all__ = ["CLASSIFIERS"]

NAN = math.nan
PATIENT_MS = 1000
CLASSIFIER_POLICY = """
guardsteer: 1
name: failing
classifiers:
  said: {{use: ./none, on: {scope}, on_error: {on_error}{more}}}
vectors:
  one: {{use: ./none, positions: [last_prompt_token, generated]}}
  two: {{use: ./none, positions: [last_prompt_token, generated]}}
rules:
  - {{id: steers, when: said.score >= 0.4, add: {{vector: one, strength: 2.0}}}}
  - {{id: always, when: step >= 0, subtract: {{vector: two, strength: 1.5}}}}
  - {{id: protects, when: said.score >= 2.0, disable: two}}
"""
"""What steers needs proof, what protects needs proof of the contrary: together they tell nan from 0.0."""


def reference(made: Bench, believed: Callable[[list[str]], list[float]]) -> list[int]:
    """Decode as the rules must decide, were ``believed`` the score at each step."""

    def decide(_: str, texts: list[str], __: list[list[float]]) -> list[tuple[float, ...]]:
        return [
            (2.0 if score >= 0.4 else 0.0, 0.0 if math.isnan(score) else -1.5) for score in believed(texts)
        ]

    vectors = [made.vectors["one"], made.vectors["two"]]
    return Reference(made.model, made.tokenizer, vectors, POSITIONS, decide).generate(PROMPT, TOKENS)


def expected(
    made: Bench, choice: str, believed: Callable[[str, list[str]], list[float]], *, outcomes: int = 3
) -> list[list[int]]:
    """Return what a choice must lead to; the choices lead to so many ``outcomes``, or nothing is shown."""
    found = {each: reference(made, partial(believed, each)) for each in CHOICES[:3]}
    assert len(set(map(tuple, found.values()))) == outcomes
    return [found[choice]]


def true_score(text: str) -> float:
    return score_of(SEED, text) if text else 0.0


def stand_in(on_error: str, last: float) -> float:
    return {"closed": NAN, "open": 0.0, "last_state": last}[on_error]


def until_broken(texts: list[str], then: Callable[[int, float], float]) -> list[float]:
    """Return the true scores until ``BREAKS_AT``, and then what ``then`` makes of (steps since, last)."""
    scores = [true_score(text) for text in texts[:BREAKS_AT]]
    return scores + [then(since, scores[-1]) for since in range(len(texts) - BREAKS_AT)]


def standing(choice: str, texts: list[str]) -> list[float]:
    """Return the scores that count where a fault lasts for good."""
    return until_broken(texts, lambda _, last: stand_in(choice, last))


def guard_with(
    made: Bench, folder: Path, on_error: str, classifier: Any, *, scope: str = "generation", more: str = ""
) -> Any:
    text = CLASSIFIER_POLICY.format(scope=scope, on_error=on_error, more=more)
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, text),
        vectors=made.vectors,
        classifiers={"said": classifier},
        audit=folder / "log",
    )


def check_text_classifier(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    """A fault for good: what stands in stays, and the row's trail says so once."""
    made = bench_for()
    with guard_with(made, folder, choice, Failing(row.fault)) as guard:
        found = run(guard)
    assert found == expected(made, choice, standing)
    assert [event.step for event in told(folder, ClassifierFailed)] == [BREAKS_AT]


def check_nan(_: Line, choice: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    with guard_with(made, folder, choice, Failing("nan")) as guard:
        found = run(guard)

    def believed(choice: str, texts: list[str]) -> list[float]:
        return standing(choice, texts)[:MENDS_AT] + [true_score(text) for text in texts[MENDS_AT:]]

    assert found == expected(made, choice, believed)
    steps = [event.step for event in told(folder, ClassifierFailed)]
    assert steps == ([] if choice == "closed" else [BREAKS_AT])


def check_probe(row: Line, choice: str, folder: Path, _: pytest.MonkeyPatch) -> None:
    made = bench_for()
    probe = FailingProbe(made, row.fault)
    with guard_with(made, folder, choice, probe, scope="all") as guard:
        found = run(guard)
    mends = MENDS_AT if row.fault == "nan" else TOKENS

    def believed(choice: str, texts: list[str]) -> list[float]:
        other = stand_in(choice, 0.9)
        return [other if BREAKS_AT <= step < mends else 0.9 for step in range(len(texts))]

    assert found == expected(made, choice, believed)
    assert [event.step for event in told(folder, ClassifierFailed)] == [BREAKS_AT]
    if row.fault != "nan":
        assert probe.calls == BREAKS_AT + 1, "it is not called again in this generation"


def check_tripped(_: Line, choice: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    classifier = Failing("raises")
    more = ", breaker: {failures: 1, rest_s: 3600}"
    with guard_with(made, folder, choice, classifier, more=more) as guard:
        run(guard)
        calls = classifier.calls
        found = run(guard)
        assert classifier.calls == calls, "it is left alone"

    def believed(choice: str, texts: list[str]) -> list[float]:
        # Of the empty text before step 1 nobody needs to be asked.
        return [0.0] + [stand_in(choice, 0.0)] * (len(texts) - 1)

    assert found == expected(made, choice, believed, outcomes=2)
    tripped = told(folder, ClassifierTripped)
    assert [(event.classifier, event.failures, event.rest_s) for event in tripped] == [("said", 1, 3600)]
    assert [event.step for event in told(folder, ClassifierFailed)] == [BREAKS_AT, 1]


def check_late(_: Line, choice: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    classifier = Failing("hangs")
    more = f", deadline_ms: {PATIENT_MS}"
    with guard_with(made, folder, choice, classifier, more=more) as guard:
        found = run(guard)
        classifier.gate.set()
    assert found == expected(made, choice, lambda _, texts: standing("last_state", texts), outcomes=1)
    late = told(folder, ClassifierLate)
    assert [(event.classifier, event.step, event.until) for event in late] == [("said", BREAKS_AT, TOKENS)]


def check_late_at_first(_: Line, choice: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    classifier = Failing("hangs", breaks_at=1)
    with guard_with(made, folder, choice, classifier, scope="prompt", more=", deadline_ms: 50") as guard:
        found = run(guard)
        classifier.gate.set()

    def believed(choice: str, texts: list[str]) -> list[float]:
        return [stand_in(choice, 0.0)] * len(texts)

    assert found == expected(made, choice, believed, outcomes=2)
    assert [(event.step, event.until) for event in told(folder, ClassifierLate)] == [(0, TOKENS)]


def check_hangs_with_breaker(_: Line, choice: str, folder: Path, __: pytest.MonkeyPatch) -> None:
    made = bench_for()
    classifier = Failing("hangs")
    more = f", deadline_ms: {PATIENT_MS}, breaker: {{failures: 2, rest_s: 3600}}"
    with guard_with(made, folder, choice, classifier, more=more) as guard:
        found = run(guard)
        classifier.gate.set()

    def believed(choice: str, texts: list[str]) -> list[float]:
        # One step is waited for; two more without news are the two failures.
        return until_broken(texts, lambda since, last: last if since < 3 else stand_in(choice, last))

    assert found == expected(made, choice, believed)
    assert len(told(folder, ClassifierTripped)) == 1
    assert [(e.step, e.until) for e in told(folder, ClassifierLate)] == [(BREAKS_AT, BREAKS_AT + 3)]


def stands(phrase: str) -> dict[str, str]:
    return three(f"missing {phrase}", f"0.0 {phrase}", f"the last scores {phrase}")


CLASSIFIERS = [
    Line("a text classifier raises", stands("for the rest of the row"), check_text_classifier, "raises"),
    Line("it gives nan", stands("while it does"), check_nan),
    Line("a probe raises", stands("for the rest of the call"), check_probe, "raises"),
    Line(
        "a probe gives a wrong number of scores",
        stands("for the rest of the call"),
        check_probe,
        "counts wrong",
    ),
    Line("a probe gives nan", stands("while it does"), check_probe, "nan"),
    Line("its breaker has tripped", stands("until it is restored"), check_tripped),
    Line("it misses its deadline", three(*["the previous scores"] * 3), check_late),
    Line(
        "it misses its deadline before it has read anything",
        three("missing until it has", "0.0 until it has", "0.0 until it has"),
        check_late_at_first,
    ),
    Line(
        "it hangs, and has a deadline and a breaker",
        three(
            "the previous scores, missing once the breaker trips",
            "the previous scores, 0.0 once the breaker trips",
            "the previous scores",
        ),
        check_hangs_with_breaker,
    ),
]
