"""A sweep ranks by what steering does to replies, whatever a block's separation promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate
from guardsteer.lab.measure.effects import random_like
from guardsteer.lab.measure.measuring import Goal, Parts
from guardsteer.lab.pairs.prompts import user_prompt
from guardsteer.lab.tuning.sweep import POSITIONS, Outcome, Spot, Sweep, outcome_of, rank_of, sweep, table
from tests.lab.studies import LOOSE, lettered, letters, parts, study

SEPARATING = {2: 9.0, 3: 1.0}


@pytest.fixture(scope="module")
def swept() -> Sweep:
    """Return a sweep over block 2, which separates best and pushes away, and block 3, which pushes there."""
    vector = lettered({2: -1.0, 3: 1.0}, SEPARATING)
    where = POSITIONS[::2]
    return sweep(*parts(), [vector], study(), LOOSE, positions=where, strengths=(2.0, 4.0), new_tokens=8)


def test_a_block_that_separates_well_and_moves_behaviour_backwards_is_not_recommended(swept: Sweep) -> None:
    assert swept.recommended
    assert {spot.block for spot in swept.recommended} == {3}
    assert swept.spots[0].block == 3
    backwards = [spot for spot in swept.spots if spot.block == 2]
    assert all(spot.cohens_d == 9.0 and spot.outcome != "helps" for spot in backwards)
    assert swept.places("block_output", 1)[0].blocks == (3,)


def test_when_the_letter_is_to_be_rarer_the_other_block_is_the_wrong_way() -> None:
    vector = lettered({2: -1.0, 3: 1.0}, SEPARATING)
    asked = study(goal=Goal("fewer letters", letters, up=False))
    found = sweep(
        *parts(), [vector], asked, LOOSE, positions=[("generated",)], strengths=(4.0,), new_tokens=8
    )
    outcomes = {spot.block: spot.outcome for spot in found.spots}
    assert outcomes[3] == "wrong way"
    assert found.spots[-1].block == 3


@pytest.mark.parametrize(
    ("gain", "random", "costs", "outcome"),
    [
        (Estimate(0.4, 0.3, 0.5, 9), 0.1, (), "helps"),
        (Estimate(0.4, 0.3, 0.5, 9), 0.1, ("perplexity",), "costs too much"),
        (Estimate(0.4, 0.3, 0.5, 9), 0.35, (), "no effect"),
        (Estimate(0.4, -0.1, 0.9, 9), -0.5, (), "no effect"),
        (Estimate(0.04, 0.03, 0.05, 9), 0.0, (), "no effect"),
        (Estimate(-0.4, -0.9, 0.1, 9), 0.0, (), "no effect"),
        (Estimate(-0.4, -0.5, -0.3, 9), -0.9, (), "wrong way"),
    ],
)
def test_a_place_helps_only_where_the_gain_is_sure_large_enough_and_above_random(
    gain: Estimate, random: float, costs: tuple[str, ...], outcome: str
) -> None:
    bounds = replace(LOOSE, gain=0.2)
    assert outcome_of(gain, Estimate(random, random, random, 9), costs, bounds) == outcome


def test_what_came_of_a_place_counts_before_its_gain_and_separation_not_at_all(swept: Sweep) -> None:
    measured = swept.spots[0].measured

    def spot(outcome: Outcome, gain: float, cohens_d: float = 0.0) -> Spot:
        at = replace(measured, gain=Estimate(gain, gain, gain, 9))
        return replace(swept.spots[0], outcome=outcome, measured=at, cohens_d=cohens_d)

    helps, costs = spot("helps", 0.2), spot("costs too much", 0.9)
    none, wrong = spot("no effect", 0.95, 99.0), spot("wrong way", -0.9)
    better = spot("helps", 0.3)
    found = sorted([wrong, costs, none, helps, better], key=rank_of, reverse=True)
    assert found == [better, helps, costs, none, wrong]


def test_a_random_vector_is_recommended_nowhere() -> None:
    vector = random_like(lettered({2: 1.0, 3: 1.0}), 5)
    found = sweep(
        *parts(), [vector], study(), LOOSE, positions=[("generated",)], strengths=(0.5,), new_tokens=8
    )
    assert found.recommended == ()
    with pytest.raises(VectorError, match="no block of block_output moves"):
        found.places("block_output", 1)


def test_what_it_costs_keeps_a_place_from_being_recommended() -> None:
    tight = replace(LOOSE, perplexity_ratio=1.0001)
    vector = lettered({3: 1.0})
    found = sweep(
        *parts(), [vector], study(), tight, positions=[("generated",)], strengths=(4.0,), new_tokens=8
    )
    assert [spot.outcome for spot in found.spots] == ["costs too much"]
    assert "perplexity ratio" in found.spots[0].costs[0]


def test_a_sweep_is_told_as_a_table_the_best_place_first(swept: Sweep) -> None:
    head, first, *rest = table(swept)
    assert head.split()[:4] == ["block", "site", "positions", "strength"]
    assert first.startswith("3 ")
    assert f"{swept.spots[0].measured.gain.value:+.3f}" in first
    assert first.endswith("helps")
    assert len(rest) == len(swept.spots) - 1
    at = head.index("outcome")
    assert all(line[at - 1] == " " and line[at] != " " for line in (first, *rest))


def test_a_sweep_is_saved_as_json(swept: Sweep, tmp_path: Path) -> None:
    saved = json.loads(swept.save(tmp_path).read_text())
    assert [spot["block"] for spot in saved["spots"]] == [spot.block for spot in swept.spots]
    assert saved["spots"][0]["outcome"] == "helps"


def test_prompts_that_leak_or_are_too_few_are_refused() -> None:
    vector = lettered({3: 1.0})
    with pytest.raises(VectorError, match="expected at least 8"):
        sweep(*parts(), [vector], study(4), LOOSE)
    same = tuple(user_prompt(f"Number {place}?") for place in range(9))
    with pytest.raises(VectorError, match="are in both parts"):
        sweep(*parts(), [vector], study(prompts=Parts(same, same)), LOOSE)
    with pytest.raises(VectorError, match="one vector for each site"):
        sweep(*parts(), [vector, vector], study(), LOOSE)
