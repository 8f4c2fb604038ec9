"""What acted on each token, from records alone: ranges, revisions, tracks, operators, reused ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from guardsteer.audit import StoredEvent, activations_of, strengths_of
from guardsteer.core.events import ActivationBegan, ActivationEnded, Event, RequestStarted, RowRevised

ROW: dict[str, Any] = {"time_ns": 1, "request": "r", "sequence": 0}


def began(vector: str, position: int, applied: float, **changes: Any) -> ActivationBegan:
    settings = {"rule": "warm", "operator": "add", **ROW, **changes}
    return ActivationBegan(
        **settings,
        vector=vector,
        vector_digest="b3:1",
        blocks=(2,),
        position=position,
        requested=applied,
        applied=applied,
        alphas=(applied,),
        scores={},
    )


def ended(vector: str, first: int, last: int, **changes: Any) -> ActivationEnded:
    settings = {"rule": "warm", **ROW, **changes}
    return ActivationEnded(
        **settings, vector=vector, first=first, last=last, tokens=last - first + 1, applied=0
    )


def revised(position: int, **changes: Any) -> RowRevised:
    return RowRevised(**{**ROW, **changes}, step=9, rule="kind", position=position, dropped=1, revision=1)


def started() -> RequestStarted:
    return RequestStarted(
        **ROW,
        guard="g",
        policy_digest="b3:1",
        context={},
        prompt_digest="",
        prompt_tokens=3,
        settings={},
    )


def stored(events: Sequence[Event]) -> list[StoredEvent]:
    return [StoredEvent("s", seq, event) for seq, event in enumerate(events)]


def test_each_position_of_a_range_has_the_strength_that_was_applied() -> None:
    told = stored([began("a", 3, 0.5), began("b", 4, -0.25), ended("b", 4, 5), ended("a", 3, 6)])
    assert strengths_of(told) == {
        3: {"a": 0.5},
        4: {"a": 0.5, "b": -0.25},
        5: {"a": 0.5, "b": -0.25},
        6: {"a": 0.5},
    }


def test_a_vector_that_changes_its_strength_has_each_where_it_held() -> None:
    """A schedule or a budget makes an activation for each strength."""
    told = stored([began("a", 3, 0.5), ended("a", 3, 3), began("a", 4, 0.25), ended("a", 4, 5)])
    assert strengths_of(told) == {3: {"a": 0.5}, 4: {"a": 0.25}, 5: {"a": 0.25}}


def test_what_was_taken_back_is_gone_and_the_token_before_it_is_decided_anew() -> None:
    first: list[Event] = [began("a", 3, 0.5), ended("a", 3, 8), revised(6)]
    assert strengths_of(stored(first)) == {3: {"a": 0.5}, 4: {"a": 0.5}}
    again: list[Event] = [*first, began("b", 5, 0.1), ended("b", 5, 6)]
    assert strengths_of(stored(again)) == {
        3: {"a": 0.5},
        4: {"a": 0.5},
        5: {"b": 0.1},
        6: {"b": 0.1},
    }
    assert [(each.first, each.last) for each in activations_of(stored(again))] == [(3, 4), (5, 6)]


def test_what_began_behind_the_cut_is_gone_altogether() -> None:
    assert activations_of(stored([began("a", 5, 0.5), ended("a", 5, 8), revised(6)])) == ()


@pytest.mark.parametrize("other", [{"sequence": 1}, {"track": "new"}])
def test_a_revision_of_another_row_takes_nothing_back(other: dict[str, Any]) -> None:
    told = stored([began("a", 3, 0.5), ended("a", 3, 8), revised(6, **other)])
    assert max(strengths_of(told)) == 8


def test_a_candidate_goes_back_with_the_row_in_force() -> None:
    new: dict[str, Any] = {"track": "new", "mode": "shadow"}
    told = stored([began("a", 3, 0.5, **new), ended("a", 3, 8, **new), revised(6)])
    assert list(strengths_of(told, track="new", mode="shadow")) == [3, 4]


@pytest.mark.parametrize("other", [{"sequence": 1}, {"track": "new"}, {"mode": "shadow"}])
def test_rows_tracks_and_modes_are_kept_apart(other: dict[str, Any]) -> None:
    told = stored(
        [began("a", 3, 0.5, **other), ended("a", 3, 4, **other), began("b", 3, 0.1), ended("b", 3, 3)]
    )
    assert strengths_of(told) == {3: {"b": 0.1}}
    assert strengths_of(told, **other) == {3: {"a": 0.5}, 4: {"a": 0.5}}


def test_a_vector_may_act_by_two_operators_at_once() -> None:
    ablated = {"operator": "ablate"}
    told = stored(
        [began("a", 3, 1.0, **ablated), began("a", 3, 0.5), ended("a", 3, 3), ended("a", 3, 4, **ablated)]
    )
    assert strengths_of(told) == {3: {"ablate a": 1.0, "a": 0.5}, 4: {"ablate a": 1.0}}


def test_two_rules_may_hold_one_vector_one_after_the_other() -> None:
    told = stored([began("a", 3, 0.5), ended("a", 3, 4), began("a", 5, 0.5, rule="calm")])
    assert [(each.began.rule, each.first, each.last) for each in activations_of(told)] == [
        ("warm", 3, 4),
        ("calm", 5, None),
    ]


def test_an_activation_whose_end_is_not_in_the_log_acted_at_its_beginning_for_certain() -> None:
    told = stored([began("a", 3, 0.5)])
    (open_ended,) = activations_of(told)
    assert open_ended.last is None
    assert [open_ended.covers(position) for position in (2, 3, 4)] == [False, True, False]
    assert strengths_of(told) == {3: {"a": 0.5}}


def test_of_an_id_that_was_used_again_the_last_request_counts() -> None:
    told = stored(
        [started(), began("a", 3, 0.5), ended("a", 3, 8), started(), began("b", 3, 0.1), ended("b", 3, 3)]
    )
    assert strengths_of(told) == {3: {"b": 0.1}}


def test_an_end_without_its_beginning_is_left_out() -> None:
    assert strengths_of(stored([ended("a", 3, 8)])) == {}
