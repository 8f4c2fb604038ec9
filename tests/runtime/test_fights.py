"""A guard warns, once for two vectors, where its policy stacks such as fight on the model at hand."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import guardsteer
from guardsteer.errors import GuardsteerWarning, VectorsFightWarning
from guardsteer.steer import Recommendation, Vector, make_vector, recommend
from guardsteer.steer.artifact import Schedule
from tests.runtime.harness import Bench, bench, policy_file, random_vector

BLOCKS = (1, 2)
POLICY = """
guardsteer: 1
name: stacked
classifiers:
  asked: {use: ./none, on: prompt}
  said: {use: ./none, on: generation}
flags:
  up: {signal: said.score, enter: 0.5}
vectors:
  one: {use: ./none, max_strength: MOST}
  two: {use: ./none}
rules:
  - {id: first, when: "WHEN", add: {vector: one, strength: 0.3}}
  - {id: second, when: up, OPERATOR: {vector: two, strength: 0.2}}
"""
WINDOW = Recommendation(blocks=BLOCKS, low=0.1, recommended=0.2, high=0.4)


def alike(made: Bench, cosine: float, window: Recommendation | None = None) -> dict[str, Vector]:
    """Return two vectors whose directions at block 2 have this cosine, and at block 1 none."""
    one = random_vector(made.model, made.tokenizer, "one", BLOCKS, 1)
    other = random_vector(made.model, made.tokenizer, "two", BLOCKS, 2)
    aside = (
        other.directions - np.sum(other.directions * one.directions, axis=1, keepdims=True) * one.directions
    )
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    shares = np.array([[0.0], [cosine]])
    turned = shares * one.directions + np.sqrt(1 - shares**2) * aside
    two = make_vector(other.card, directions=turned, residual_norms=other.residual_norms)
    given = window or WINDOW.model_copy(update={"positions": ("all",)})
    return {"one": recommend(one, given), "two": recommend(two, given)}


def warned(
    folder: Path,
    cosine: float,
    *,
    when: str = "true",
    operator: str = "add",
    most: str = "0.3",
    window: Recommendation | None = None,
    more: str = "",
) -> list[str]:
    """Return what a guard with this policy warns of."""
    made = bench("llama")
    text = POLICY.replace("WHEN", when).replace("OPERATOR", operator).replace("MOST", most) + more
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrap(made, folder, text, alike(made, cosine, window)).detach()
    found = [each for each in caught if issubclass(each.category, GuardsteerWarning)]
    assert all(each.category is VectorsFightWarning and each.filename == __file__ for each in found)
    return [str(each.message) for each in found]


def wrap(made: Bench, folder: Path, text: str, vectors: Mapping[str, Vector]) -> Any:
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, text),
        vectors=vectors,
        classifiers={"asked": made.classifiers["asked"], "said": made.classifiers["said"]},
    )


def test_vectors_that_push_against_each_other_are_named_with_their_rules_and_the_block(
    tmp_path: Path,
) -> None:
    (found,) = warned(tmp_path, -0.7)
    assert "policy 'stacked': vectors 'one' and 'two'" in found
    assert "at block 2, by rules 'first' and 'second'," in found
    assert "push against each other (cosine -0.70);" in found
    assert "exclude each other" in found
    assert warned(tmp_path, 0.7, operator="subtract") == [found]


def test_vectors_that_push_the_same_way_are_named_where_nothing_bounds_their_sum(tmp_path: Path) -> None:
    (found,) = warned(tmp_path, 0.7)
    assert "same way (cosine +0.70), and nothing bounds their sum;" in found
    assert "set a budget" in found
    assert warned(tmp_path, 0.7, more="budget: 0.5\n") == []


def test_a_window_that_was_found_for_such_a_use_says_whether_the_sum_leaves_it(tmp_path: Path) -> None:
    (found,) = warned(tmp_path, 0.7, window=WINDOW)
    assert "together they reach strength 0.44 along 'one', whose window ends at 0.40" in found
    wider = WINDOW.model_copy(update={"high": 0.5})
    assert warned(tmp_path, 0.7, window=wider) == []
    decaying = wider.model_copy(update={"schedule": Schedule(half_life=8.0)})
    (found,) = warned(tmp_path, 0.7, window=decaying)
    assert "nothing bounds their sum" in found
    chosen = "overrides: [{vector: one, from: 0.1, to: 0.4}]\n"
    assert len(warned(tmp_path, 0.7, window=wider, most="0.4", more=chosen)) == 1
    assert warned(tmp_path, 0.7, window=wider, more="budget: 0.5\n") == []


@pytest.mark.parametrize("cosine", [-0.45, 0.0, 0.45])
def test_vectors_that_hardly_share_a_direction_are_left_alone(cosine: float, tmp_path: Path) -> None:
    assert warned(tmp_path, cosine) == []


def test_rules_that_exclude_each_other_stack_nothing(tmp_path: Path) -> None:
    assert warned(tmp_path, -0.9, when="!up") == []
    assert len(warned(tmp_path, -0.9, when="!up || step > 4")) == 1


def test_an_ablation_fights_what_pushes_along_it_whichever_way(tmp_path: Path) -> None:
    for cosine in (-0.7, 0.7):
        (found,) = warned(tmp_path, cosine, operator="ablate")
        assert "takes away what the other pushes" in found


def test_a_policy_that_is_adopted_later_is_looked_at_too(tmp_path: Path) -> None:
    made = bench("llama")
    quiet = POLICY.replace("WHEN", "!up").replace("OPERATOR", "add").replace("MOST", "0.3")
    with wrap(made, tmp_path, quiet, alike(made, -0.9)) as guard:
        loud = policy_file(tmp_path, quiet.replace("!up", "up"))
        with pytest.warns(VectorsFightWarning, match="against each other"):
            guard.reload(loud)


def test_candidates_are_looked_at_too(tmp_path: Path) -> None:
    made = bench("llama")
    quiet = POLICY.replace("WHEN", "!up").replace("OPERATOR", "add").replace("MOST", "0.3")
    (tmp_path / "loud").mkdir()
    loud = policy_file(tmp_path / "loud", quiet.replace("!up", "up"))
    with pytest.warns(VectorsFightWarning, match="against each other"):
        guardsteer.wrap(
            made.model,
            made.tokenizer,
            policy=policy_file(tmp_path, quiet),
            candidates={"loud": loud},
            vectors=alike(made, -0.9),
            classifiers={"asked": made.classifiers["asked"], "said": made.classifiers["said"]},
        ).detach()
