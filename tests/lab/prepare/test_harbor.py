"""The Harbor example tunes on training tickets, judges on others, and pushes on billing tickets alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.harbor.run import draw, judge, policy_text, study, validate
from guardsteer.assets import Catalog
from guardsteer.demo import load_model
from guardsteer.host import fingerprint
from guardsteer.lab.prepare.needs import read_policy
from guardsteer.steer import Recommendation, find_artifact, load_vector


def test_no_ticket_of_the_validation_is_one_of_the_tuning() -> None:
    held_out = {ticket.messages[-1]["content"] for ticket in draw(60, "held_out", "validation")}
    judged = study(20)
    judged.check()
    assert not held_out & {p.text for p in (*judged.prompts.tuning, *judged.prompts.test)}
    assert {ticket.domain for ticket in draw(20, "train", "tuning", billing=True)} == {"billing"}


@pytest.mark.parametrize("half_life", [None, 3.0])
def test_the_policy_does_what_the_card_recommends(tmp_path: Path, half_life: float | None) -> None:
    schedule = None if half_life is None else {"half_life": half_life}
    best = Recommendation.model_validate(
        {"blocks": (3,), "low": 0.2, "recommended": 0.5, "high": 0.8, "schedule": schedule}
    )
    path = tmp_path / "policy.yaml"
    path.write_text(policy_text(best))
    push = read_policy(path, Catalog()).rules[0].steer[0]
    assert (push.strength, push.schedule and push.schedule.half_life) == (0.5, half_life)


def test_validation_warms_billing_tickets_leaves_the_others_alone_and_is_undone_by_the_rollback() -> None:
    model, tokenizer = load_model()
    identity = fingerprint(model, tokenizer)
    path = find_artifact(Catalog().find("vectors", "demo-empathy"), identity)
    found = validate(model, tokenizer, load_vector(path, fingerprint=identity), 20)
    guarded = found["columns"]["guarded"]
    assert guarded["gained"].low > 0.5
    assert guarded["other answers changed, %"].value == 0
    assert found["rollback identical"]


def test_answers_that_did_not_change_gain_and_lose_nothing() -> None:
    tickets = draw(20, "held_out", "validation")
    same = [ticket.reply for ticket in tickets]
    figures = judge(tickets, same, same)
    assert [figures[name].value for name in ("gained", "accuracy lost, points")] == [0, 0]
    assert figures["policy accuracy, %"].value > 95
