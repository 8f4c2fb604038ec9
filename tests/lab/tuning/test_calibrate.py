"""Calibration finds the window, compares with random vectors, and publishes nothing that fails its bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guardsteer.core.policy import ScheduleSpec
from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate
from guardsteer.lab.measure.effects import Push, random_like
from guardsteer.lab.measure.measuring import Check, Goal, Measured
from guardsteer.lab.metrics.text import words
from guardsteer.lab.tuning.calibrate import Place, Search, calibrate
from guardsteer.lab.tuning.calibration import Calibration, Rung, saturation
from tests.lab.studies import LOOSE, lettered, letters, parts, study

SEARCH = Search(
    places=(Place((3,)),),
    strengths=(0.5, 2.0, 4.0, 8.0),
    schedules=(None, ScheduleSpec(half_life=1.0)),
    controls=2,
)


@pytest.fixture(scope="module")
def found() -> Calibration:
    vector = lettered({3: 1.0})
    return calibrate(*parts(), vector, study(off_target=study(8).prompts), SEARCH, LOOSE, new_tokens=8)


def test_the_recommended_strength_holds_on_prompts_that_nothing_was_chosen_on(found: Calibration) -> None:
    assert found.verdict.publish
    assert found.window is not None
    assert found.held_out is not None
    assert found.window.low <= found.window.recommended <= found.window.high
    assert found.held_out.measured.gain.low > max(each.value for each in found.held_out.controls)
    assert found.held_out.measured.push.strength == found.window.recommended
    assert found.held_out.measured.gain.rows == 10


def test_every_strength_inside_the_window_kept_its_bounds(found: Calibration) -> None:
    assert found.window is not None
    inside = [rung for rung in found.curve if found.window.low <= rung.strength <= found.window.high]
    assert inside
    for rung in inside:
        assert rung.beats_random
        assert not rung.costs
        assert rung.measured.gain.value >= LOOSE.gain
        assert rung.measured.kl_nats is not None


def test_publishing_puts_the_window_and_its_schedule_on_the_card(found: Calibration) -> None:
    vector = lettered({3: 1.0})
    published = found.publish(vector)
    chosen = published.card.recommended
    assert chosen is not None
    assert found.window is not None
    assert (chosen.low, chosen.recommended, chosen.high) == (
        found.window.low, found.window.recommended, found.window.high,
    )  # fmt: skip
    assert chosen.blocks == (3,)
    with pytest.raises(VectorError, match="is not the one that was calibrated"):
        found.publish(random_like(vector, 1))


def test_the_same_seed_gives_the_same_calibration(found: Calibration) -> None:
    again = calibrate(
        *parts(), lettered({3: 1.0}), study(off_target=study(8).prompts), SEARCH, LOOSE, new_tokens=8
    )
    assert again.to_json() == found.to_json()


def test_a_random_vector_is_not_published_and_the_reason_is_told() -> None:
    vector = random_like(lettered({3: 1.0}), 7)
    failed = calibrate(*parts(), vector, study(), replace(SEARCH, schedules=(None,)), LOOSE, new_tokens=8)
    assert not failed.verdict.publish
    assert failed.window is None
    assert failed.verdict.reasons
    with pytest.raises(VectorError, match="is not published"):
        failed.publish(vector)


def test_a_vector_that_works_backwards_is_told_to_be_tried_with_the_other_sign() -> None:
    asked = study(goal=Goal("fewer letters", letters, up=False))
    search = replace(SEARCH, schedules=(None,))
    failed = calibrate(*parts(), lettered({3: 1.0}), asked, search, LOOSE, new_tokens=8)
    assert not failed.verdict.publish
    assert "moves the other way" in failed.verdict.reasons[0]


def test_a_check_that_breaks_its_bound_keeps_the_vector_back() -> None:
    check = Check("letters again", letters, highest_change=0.0)
    failed = calibrate(
        *parts(),
        lettered({3: 1.0}),
        study(checks=(check,)),
        replace(SEARCH, schedules=(None,)),
        LOOSE,
        new_tokens=8,
    )
    assert not failed.verdict.publish
    assert any("letters again changed by" in reason for reason in failed.verdict.reasons)


def test_a_check_without_bounds_is_told_and_stops_nothing() -> None:
    asked = study(checks=(Check("words", words),))
    told = calibrate(
        *parts(), lettered({3: 1.0}), asked, replace(SEARCH, schedules=(None,)), LOOSE, new_tokens=8
    )
    assert told.verdict.publish
    assert told.held_out is not None
    assert set(told.held_out.measured.changes) == {"words"}


def test_a_push_on_the_prompt_alone_is_tried_without_schedules() -> None:
    search = replace(SEARCH, places=(Place((3,), ("last_prompt_token",)),), strengths=(2.0, 4.0), halvings=0)
    tried = calibrate(*parts(), lettered({3: 1.0}), study(), search, LOOSE, new_tokens=2).trials
    assert {rung.measured.push.schedule for rung in tried} == {None}
    pushes = [rung.measured.push for rung in tried]
    assert len(set(pushes)) == len(pushes) <= 3


def test_what_was_found_is_saved_whole(found: Calibration, tmp_path: Path) -> None:
    saved = json.loads(found.save(tmp_path).read_text())
    assert saved["published"] is True
    assert saved["held_out"]["random_gains"]
    assert len(saved["trials"]) >= len(SEARCH.strengths) * len(SEARCH.schedules)
    assert saved["examples"][0]["steered"]


def test_a_search_that_cannot_tell_is_refused() -> None:
    for wrong in (
        replace(SEARCH, places=()),
        replace(SEARCH, strengths=(0.4, 0.2)),
        replace(SEARCH, strengths=(0.0, 0.2)),
        replace(SEARCH, controls=0),
        replace(SEARCH, schedules=(ScheduleSpec(every=4, by=0.1),)),
    ):
        with pytest.raises(VectorError):
            calibrate(*parts(), lettered({3: 1.0}), study(), wrong, LOOSE)


def _curve(gains: list[float], spread: float = 0.02) -> list[Rung]:
    flat = Estimate(1.0, 1.0, 1.0, 9)
    return [
        Rung(
            Measured(
                Push("v", (0,), float(place + 1)),
                flat,
                Estimate(gain, gain - spread, gain + spread, 9),
                flat, flat, flat,
            ),
            (), (),
        )
        for place, gain in enumerate(gains)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gains", "kind", "strength"),
    [
        ([0.1, 0.2, 0.4, 0.8], "none", 4.0),
        ([0.1, 0.7, 0.72, 0.73], "flat", 2.0),
        ([0.1, 0.5, 0.8, 0.3], "turns", 3.0),
        ([0.0, -0.1, 0.01], "never", 3.0),
    ],
)
def test_saturation_tells_rising_flat_and_turning_curves_apart(
    gains: list[float], kind: str, strength: float
) -> None:
    found = saturation(_curve(gains))
    assert (found.kind, found.strength) == (kind, strength)
