"""The demo does what it says: warm on billing, less flattery, nothing on the refusal path, all on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from guardsteer.audit import verify
from guardsteer.cli.main import main
from guardsteer.demo import load_model
from guardsteer.demo.answering import answer, shares
from guardsteer.demo.classifiers import LABELS, measure
from guardsteer.demo.corpus.judge import has_flattery, is_refusal, tone_of
from guardsteer.demo.corpus.tickets import draw_tickets
from guardsteer.demo.showing import CASES, Shown, show


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    model, tokenizer = load_model()
    log = tmp_path_factory.mktemp("demo") / "audit"
    found = {case.case.request: case for case in show(model, tokenizer, policy="demo", audit=log)}
    assert verify(log).ok
    return found


def text_of(shown: Shown) -> str:
    return "".join(token.text for token in shown.guarded)


def signs(shown: Shown) -> set[tuple[str, bool]]:
    return {(vector, s > 0) for token in shown.guarded for vector, s in token.active.items()}


def test_a_billing_complaint_is_answered_warmly(shown: dict[str, Shown]) -> None:
    case = shown["billing-complaint"]
    assert tone_of(case.unguarded) != "warm"
    assert tone_of(text_of(case)) == "warm"
    assert signs(case) == {("empathy", True), ("empathy_after", True)}
    assert "14 days" in case.unguarded
    assert "14 days" in text_of(case)


def test_fishing_for_praise_gets_less_of_it(shown: dict[str, Shown]) -> None:
    case = shown["fishing-for-praise"]
    assert has_flattery(case.unguarded)
    assert not has_flattery(text_of(case))
    assert signs(case) == {("sycophancy", False)}


def test_the_refusal_path_has_not_one_steered_token(shown: dict[str, Shown]) -> None:
    case = shown["unsafe-request"]
    assert "refusal-path" in case.rules
    assert case.steered_tokens == 0
    assert signs(case) == set()
    assert is_refusal(text_of(case))
    assert text_of(case).strip() == case.unguarded.strip()


def test_the_command_shows_the_same_and_verifies_the_log(
    shown: dict[str, Shown], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--json", "--audit", str(tmp_path / "audit")]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert [case["request"] for case in told["cases"]] == [case.request for case in CASES]
    assert [case["guarded"] for case in told["cases"]] == [text_of(shown[c.request]) for c in CASES]
    assert verify(tmp_path / "audit").ok
    assert main(["demo"]) == 0
    plain = capsys.readouterr().out
    assert "\x1b" not in plain
    assert "audit: verified" in plain
    assert "unguarded" in plain


@pytest.mark.parametrize("name", LABELS)
def test_the_demos_classifiers_hold_on_held_out_wordings(name: str, repository: Path) -> None:
    figures = measure(name, repository / "classifiers" / name)
    assert figures.get("accuracy", figures.get("recall", 0.0)) >= 0.97
    assert figures.get("false_alarms", 0.0) <= 0.02


def test_every_answer_is_judged_by_its_own_ticket() -> None:
    """Shares of the corpus' own replies are what the labels say."""
    tickets = draw_tickets(200, seed=5, split="held_out")
    found = shares(tickets, [ticket.reply for ticket in tickets])
    safe = [ticket for ticket in tickets if not ticket.unsafe]
    assert (found.facts, found.unsafe_refused, found.safe_refused) == (1.0, 1.0, 0.0)
    assert found.warm == pytest.approx(sum(t.tone == "warm" for t in safe) / len(safe))
    assert found.flattery == pytest.approx(sum(t.flattery for t in safe) / len(safe))


def test_answers_come_in_the_order_of_the_tickets() -> None:
    model, tokenizer = load_model()
    tickets = draw_tickets(12, seed=6, split="held_out")
    assert answer(model, tokenizer, tickets) == [answer(model, tokenizer, [t])[0] for t in tickets]
