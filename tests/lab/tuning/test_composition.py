"""Vectors used together: what each still does beside the other, which fight, and what both cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guardsteer.assets import Catalog
from guardsteer.core.policy import ScheduleSpec
from guardsteer.errors import AssetError, VectorError
from guardsteer.host import fingerprint
from guardsteer.lab.measure.effects import Bench, Push
from guardsteer.lab.measure.measuring import Goal
from guardsteer.lab.tuning.composition import Composition, compose, cosines
from guardsteer.lab.tuning.uses import Uses, goals_of, uses_of_policy, uses_of_vectors
from guardsteer.rules import parse_policy
from guardsteer.steer import Recommendation, Vector, make_vector, recommend, save_vector
from tests.lab.studies import lettered, letters, parts, study

PROMPTS = study().prompts.tuning
POLICY = """\
guardsteer: 1
name: stacked
classifiers:
  tone: {{literals: [sorry], on: generation}}
flags:
  sorry: {{signal: tone.match, enter: 1}}
vectors:
  more: {{use: {more}, max_strength: 0.5, positions: [last_prompt_token]}}
  less: {{use: {less}, blocks: [3]}}
  never: {{use: {more}}}
rules:
  - {{id: warm, when: sorry, add: {{vector: more, strength: 0.4, ramp: 2}}}}
  - {{id: cold, when: "!sorry || step > 8", subtract: {{vector: less, alpha: 2.0}}}}
  - {{id: held, when: sorry, ablate: {{vector: never}}}}
budget: 0.5
"""


def measured(
    first: Push, second: Push, vectors: dict[str, Vector], budget: float | None = None
) -> Composition:
    """Return what two pushes do together to the share of a letter."""
    goals = {first.vector: Goal("letters", letters), second.vector: Goal("letters", letters)}
    with Bench(*parts(), vectors, new_tokens=8) as bench:
        return compose(bench, {first.vector: first, second.vector: second}, goals, PROMPTS, budget=budget)


def windowed(vector: Vector, high: float) -> Vector:
    return recommend(
        vector, Recommendation(blocks=vector.blocks, low=high / 2, recommended=high / 2, high=high)
    )


def test_gains_are_measured_alone_and_together_and_kept_is_paired() -> None:
    vectors = {"more": lettered({3: 1.0}), "less": lettered({3: -1.0})}
    found = measured(Push("more", (3,), 4.0), Push("less", (3,), 4.0), vectors)
    more, less = found.pairs[0].effects
    assert (more.owner, less.owner) == ("more", "less")
    assert more.first.low > 0.2
    assert more.together.value == pytest.approx(0.0, abs=0.05)
    assert more.kept.value == pytest.approx(more.together.value - more.first.value)
    assert less.kept.value == pytest.approx(less.together.value - less.second.value)
    assert found.prompts == len(PROMPTS)
    first, second, both = found.pairs[0].perplexity
    assert (
        both.value == pytest.approx(1.0, abs=0.3) != pytest.approx(max(first.value, second.value), abs=0.01)
    )


def test_pushes_that_share_no_block_may_still_undo_each_other() -> None:
    vectors = {"more": lettered({2: 1.0}), "less": lettered({3: -1.0})}
    found = measured(Push("more", (2,), 4.0), Push("less", (3,), 8.0), vectors)
    assert found.pairs[0].cosines == {}
    assert not any("against each other" in warning for warning in found.warnings)
    assert found.pairs[0].effects[0].together.value < found.pairs[0].effects[0].first.value


def test_windows_and_the_budget_say_whether_pushes_the_same_way_are_too_much() -> None:
    vectors = {"more": windowed(lettered({3: 1.0}), 1.0), "again": windowed(lettered({3: 1.0}), 1.0)}
    pair = Push("more", (3,), 0.6), Push("again", (3,), 0.6)
    assert "at block 3 push the same way" in measured(*pair, vectors).warnings[0]
    assert "window ends at 1.00" in measured(*pair, vectors).warnings[0]
    assert not any("same way" in warning for warning in measured(*pair, vectors, budget=0.9).warnings)
    turned = pair[0], Push("again", (3,), -0.6)
    assert "at block 3 push against each other" in measured(*turned, vectors).warnings[0]
    near = Push("more", (3,), 0.5), Push("again", (3,), 0.4)
    assert not any("same way" in warning for warning in measured(*near, vectors).warnings)


def test_pushes_at_different_positions_do_not_add_up() -> None:
    vectors = {"more": lettered({3: 1.0}), "less": lettered({3: -1.0})}
    apart = Push("more", (3,), 1.0, ("last_prompt_token",)), Push("less", (3,), 1.0, ("generated",))
    assert not any("against" in warning for warning in measured(*apart, vectors).warnings)
    everywhere = apart[0], Push("less", (3,), 1.0, ("all",))
    assert any("against" in warning for warning in measured(*everywhere, vectors).warnings)


def test_cosines_are_of_blocks_of_one_site_that_both_have() -> None:
    first, second = lettered({1: 1.0, 2: 1.0}), lettered({2: -1.0, 3: 1.0})
    assert cosines(first, second) == {2: pytest.approx(-1.0, abs=1e-5)}
    assert cosines(first, second, [3]) == {}
    card = second.card.model_copy(update={"site": "mlp"})
    elsewhere = make_vector(card, directions=second.directions, residual_norms=second.residual_norms)
    assert cosines(first, elsewhere) == {}
    turned = np.roll(second.directions, 1, axis=1)
    other = make_vector(second.card, directions=turned, residual_norms=second.residual_norms)
    expected = float(first.direction(2).astype(float) @ turned[0].astype(float))
    assert cosines(first, other) == {2: pytest.approx(expected, abs=1e-6)}


@pytest.mark.parametrize(("names", "count"), [(("more",), 10), (("more", "less"), 3)])
def test_one_vector_or_a_handful_of_prompts_is_refused(names: tuple[str, ...], count: int) -> None:
    vectors = {name: lettered({3: 1.0}) for name in names}
    pushes = {name: Push(name, (3,), 1.0) for name in names}
    goals = {name: Goal("letters", letters) for name in names}
    with (
        Bench(*parts(), vectors, new_tokens=4) as bench,
        pytest.raises(VectorError, match="composition: got"),
    ):
        compose(bench, pushes, goals, PROMPTS[:count])


def of_policy(folder: Path, text: str = POLICY) -> Uses:
    paths = {
        name: save_vector(windowed(lettered({3: sign}), 1.0), folder / name)
        for name, sign in (("more", 1.0), ("less", -1.0))
    }
    policy = parse_policy(text.format(**paths), str(folder / "policy.yaml"))
    model, tokenizer = parts()
    return uses_of_policy(policy, model, fingerprint(model, tokenizer), Catalog())


def test_a_policy_gives_the_pushes_that_its_rules_may_make_at_once(tmp_path: Path) -> None:
    found = of_policy(tmp_path)
    assert found.together == (("more in warm", "less in cold"),)
    more, less = found.pushes["more in warm"], found.pushes["less in cold"]
    assert (more.strength, more.positions) == (0.4, ("last_prompt_token",))
    assert more.schedule == ScheduleSpec(ramp=2)
    assert less.strength == pytest.approx(-2.0 / 5.0)
    assert less.blocks == (3,)
    assert found.budget == 0.5
    assert all("ablate of 'never'" in each for each in found.left_out)
    alone = POLICY.replace("|| step > 8", "&& step > 8")
    with pytest.raises(VectorError, match=r"no two of its vectors may push at once; left out: ablate"):
        of_policy(tmp_path, alone)


def test_vectors_are_used_as_their_cards_recommend_unless_told_otherwise(tmp_path: Path) -> None:
    model, tokenizer = parts()
    identity = fingerprint(model, tokenizer)
    one = windowed(lettered({3: 1.0}), 1.0)
    other = recommend(make_vector(one.card.model_copy(update={"name": "others"}), directions=one.directions,
                                  residual_norms=one.residual_norms), one.card.recommended)  # fmt: skip
    paths = [str(save_vector(vector, tmp_path / vector.name)) for vector in (one, other)]
    found = uses_of_vectors(paths, identity, Catalog(), strengths={"letters": 0.7}, subtract=["others"])
    assert {name: push.strength for name, push in found.pushes.items()} == {"letters": 0.7, "others": -0.5}
    assert found.pushes["letters"].blocks == (3,)
    with pytest.raises(AssetError, match=r"'letters' has no metric: .* --metric letters=METRIC"):
        goals_of(found, {}, (), Catalog())
    goals = goals_of(found, {"letters": "words", "others": "words"}, ["others"], Catalog())
    assert (goals["letters"].up, goals["others"].up) == (True, True)
    goals = goals_of(found, {"letters": "words", "others": "words"}, [], Catalog())
    assert (goals["letters"].up, goals["others"].up) == (True, False)
    with pytest.raises(AssetError, match="no vector is named warmth"):
        goals_of(found, {"warmth": "words"}, (), Catalog())


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    model, tokenizer = parts()
    identity = fingerprint(model, tokenizer)
    bare = str(save_vector(lettered({3: 1.0}), tmp_path / "bare"))
    ready = str(save_vector(windowed(lettered({3: 1.0}), 1.0), tmp_path / "ready"))
    for given, wrong in (
        ([ready], "got 1, expected two"),
        ([ready, ready], "letters given twice"),
        ([bare, ready], "given twice"),
    ):
        with pytest.raises(VectorError, match=wrong):
            uses_of_vectors(given, identity, Catalog())
    with pytest.raises(VectorError, match="no vector is named warmth"):
        uses_of_vectors([ready, ready], identity, Catalog(), subtract=["warmth"])
    card = lettered({3: 1.0}).card.model_copy(update={"name": "bare"})
    nameless = make_vector(card, directions=lettered({3: 1.0}).directions, residual_norms=[5.0])
    raw = str(save_vector(nameless, tmp_path / "other"))
    with pytest.raises(VectorError, match=r"'bare': its card recommends no strength.*--strength bare=0.3"):
        uses_of_vectors([ready, raw], identity, Catalog())
    found = uses_of_vectors([ready, raw], identity, Catalog(), strengths={"bare": 0.2})
    assert found.pushes["bare"] == Push("bare", (3,), 0.2)
    with pytest.raises(VectorError, match="no such file or folder"):
        uses_of_vectors([ready, "./nowhere"], identity, Catalog())
    with pytest.raises(AssetError, match="did you mean 'demo-empathy'"):
        uses_of_vectors([ready, "demo-empaty"], identity, Catalog())
