"""What ships to hold a vector to: prompts in two parts, losses counted alone, traits beside controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from guardsteer.errors import VectorError
from guardsteer.evaluate import Estimate
from guardsteer.lab.measure.effects import Bench, Push
from guardsteer.lab.measure.gates import instructions_check, refusals_check, shipped_parts, with_gates
from guardsteer.lab.measure.measuring import Measured, measure, unjudged
from guardsteer.lab.measure.side_effects import SideEffect
from guardsteer.lab.measure.study import BOUNDS, Bounds, Check, Goal, Parts
from guardsteer.lab.measure.traits import TraitReader, trait_reader
from guardsteer.lab.metrics.model import OfModel
from guardsteer.lab.metrics.text import pattern, words
from guardsteer.lab.pairs.instructions import expectations
from guardsteer.lab.pairs.prompts import load_prompts
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.lab.tuning.calibrate import Place, Search, calibrate
from tests.lab.studies import LETTER, LOOSE, lettered, letters, parts, study

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "guardsteer" / "lab" / "measure" / "gate_prompts"
SEARCH = Search(places=(Place((3,)),), strengths=(2.0, 4.0), schedules=(None,), controls=2, halvings=0)
FLAT = Estimate(0.0, 0.0, 0.0, 9)


class _Counter:
    """Stands in for a fitted model: the share of the letter, squeezed to a probability."""

    def predict_proba(self, replies: list[str]) -> object:
        import numpy as np

        share = np.array([reply.count(LETTER) / max(len(reply), 1) for reply in replies])
        return np.stack([1 - share, share], axis=1)


def reader(auroc: float | None = 1.0) -> TraitReader:
    """Return a reader that sees what the vector moves."""
    return TraitReader("letters", 20, auroc, _Counter())


@pytest.mark.parametrize("name", ["ordinary", "safe", "instructions"])
def test_prompts_that_ship_are_enough_in_both_parts_and_none_is_in_a_recipe(name: str) -> None:
    found = shipped_parts(name)  # type: ignore[arg-type]  # a name from a list
    assert min(len(found.tuning), len(found.test)) >= 16
    asked = {prompt.text.casefold() for prompt in (*found.tuning, *found.test)}
    assert len(asked) == len(found.tuning) + len(found.test)
    for folder in (ROOT / "vectors").glob("*/recipe.yaml"):
        taken = {pair.messages[-1]["content"].casefold() for pair in load_recipe(folder.parent).pairs}
        assert not asked & taken


def test_instructions_of_many_kinds_ship() -> None:
    prompts = load_prompts(FOLDER / "instructions.jsonl")
    assert len(prompts) >= 40
    assert len({each.kind for prompt in prompts for each in prompt.expect}) >= 14


def test_a_study_gets_what_it_lacks_and_keeps_what_it_has() -> None:
    own = study(
        checks=(replace(refusals_check(pattern("no")), highest_change=0.5),), off_target=study(9).prompts
    )
    found = with_gates(own, of="empathy")
    assert found.off_target == own.off_target
    assert [check.name for check in found.checks] == ["refusals", "instructions"]
    assert found.checks[0].highest_change == 0.5
    names = {each.name for each in found.traits}
    assert "formality" in names
    assert not {"empathy", "demo-empathy"} & names
    assert "demo-sycophancy" in {each.name for each in with_gates(study(), of="demo-empathy").traits}
    found.check()


def test_a_check_given_twice_is_refused() -> None:
    twice = study(checks=(Check("words", words), Check("words", letters)))
    with pytest.raises(VectorError, match="words given twice"):
        twice.check()


def test_only_what_the_bare_model_has_can_be_lost() -> None:
    model, tokenizer = parts()
    asked = study().prompts
    with Bench(model, tokenizer, {"v": lettered({3: 1.0})}, new_tokens=8) as bench:
        bare = bench.bare(asked.tuning)
        starts = sorted({reply.text[:1] for reply in bare if reply.text})
        has = {start: sum(reply.text.startswith(start) for reply in bare) for start in starts}
        common = max(has, key=lambda start: has[start])
        metric = pattern(f"^{common}")
        for kept, fewest in ((True, 8), (False, 0)):
            check = Check("start", metric, -0.1, None, kept=kept)
            found, after = measure(bench, study(checks=(check,)), "tuning", Push("v", (3,), 8.0))
            if has[common] < fewest:
                assert "start" not in found.changes
                assert (
                    f"the bare model has {has[common]} of 10"
                    in unjudged(bench, study(checks=(check,)), "tuning")[0]
                )
                continue
            rows = [row for row, reply in enumerate(bare) if not kept or reply.text.startswith(common)]
            before = [float(bare[row].text.startswith(common)) for row in rows]
            now = [float(after[row].text.startswith(common)) for row in rows]
            lost = sum(now) / len(now) - sum(before) / len(before)
            assert found.changes["start"].value == pytest.approx(lost)
            assert found.changes["start"].rows == len(rows)


def test_instructions_that_the_bare_model_follows_and_the_steered_one_does_not_keep_a_vector_back() -> None:
    model, tokenizer = parts()
    wanted = expectations({"matches": f"^[^{LETTER}]+$"})
    asked = study().prompts
    easy = [replace(prompt, expect=wanted) for prompt in (*asked.tuning, *asked.test)]
    check = instructions_check(Parts(tuple(easy[:10]), tuple(easy[10:])))
    failed = calibrate(
        model, tokenizer, lettered({3: 1.0}), study(checks=(check,)), SEARCH, LOOSE, new_tokens=8
    )
    assert not failed.unjudged
    assert not failed.verdict.publish
    assert any("instructions changed by -" in reason for reason in failed.verdict.reasons)


def test_checks_that_cannot_be_judged_are_told_and_stop_nothing() -> None:
    never = Check("never", pattern("^zzzz"), -0.1, None, kept=True)
    found = calibrate(*parts(), lettered({3: 1.0}), study(checks=(never,)), SEARCH, LOOSE, new_tokens=8)
    assert found.verdict.publish
    assert [note.split(":")[0] for note in found.unjudged] == ["never", "never"]
    assert found.to_json()["unjudged"] == list(found.unjudged)


def test_side_effects_on_other_traits_are_told_beside_random_pushes() -> None:
    asked = study(traits=(reader(),))
    found = calibrate(*parts(), lettered({3: 1.0}), asked, SEARCH, LOOSE, new_tokens=8)
    (effect,) = found.side_effects
    assert effect.moved
    assert effect.change.value == pytest.approx(found.held_out.measured.gain.value)  # type: ignore[union-attr]  # one was measured
    assert len(effect.controls) == 2
    told = found.to_json()
    assert told["side_effects"][0]["trait"] == "letters"
    assert told["curve"][-1]["traits"]
    assert all("traits" not in trial for trial in told["trials"])


def test_a_side_effect_beyond_its_bound_keeps_a_vector_back_unless_its_reader_is_a_guess() -> None:
    bounds = replace(LOOSE, side_effect=0.01)
    for auroc, published in ((1.0, False), (0.6, True), (None, True)):
        asked = study(traits=(reader(auroc),))
        found = calibrate(*parts(), lettered({3: 1.0}), asked, SEARCH, bounds, new_tokens=8)
        assert found.verdict.publish is published
        assert published or "letters moved by +" in found.verdict.reasons[0]
        assert published or found.side_effects


def test_a_trait_moved_where_it_is_clear_of_zero_and_of_every_random_push() -> None:
    def moved(low: float, high: float, controls: tuple[float, ...], *, reliable: bool = True) -> bool:
        return SideEffect("t", Estimate((low + high) / 2, low, high, 9), controls, 1.0, reliable).moved

    assert moved(0.1, 0.2, (0.05, -0.05))
    assert moved(-0.2, -0.1, ())
    assert not moved(-0.1, 0.2, ())
    assert not moved(0.1, 0.2, (-0.15,))
    assert not moved(0.1, 0.2, (), reliable=False)


def test_what_else_a_weak_push_costs_is_measured_on_the_curve_that_is_shown_alone() -> None:
    search = replace(SEARCH, places=(Place((2,)), Place((3,))), strengths=(0.5, 4.0))
    asked = study(off_target=study(8).prompts)
    found = calibrate(*parts(), lettered({2: -1.0, 3: 1.0}), asked, search, LOOSE, new_tokens=4)
    assert {rung.measured.push.blocks for rung in found.curve} == {(3,)}
    assert all(rung.measured.kl_nats is not None for rung in found.curve)
    weak = [rung for rung in found.trials if rung.measured.gain.value < LOOSE.gain]
    assert weak
    assert {rung.measured.kl_nats for rung in weak} == {None}


def test_the_divergence_off_target_is_bounded_without_being_asked() -> None:
    far = Measured(
        Push("v", (0,), 1.0), FLAT, FLAT, FLAT, FLAT, Estimate(1.0, 1.0, 1.0, 9), Estimate(0.5, 0.4, 0.6, 9)
    )
    assert BOUNDS.kl_nats is not None
    assert far.costs(BOUNDS) == ("off-target KL 0.500 above 0.4 nats",)
    assert far.costs(Bounds(kl_nats=None)) == ()


def test_a_metric_that_needs_the_model_gets_it_from_the_study() -> None:
    given: list[object] = []

    def make(model: object, tokenizer: object) -> object:
        given.extend((model, tokenizer))
        return letters

    waiting = OfModel("waiting", make)  # type: ignore[arg-type]  # typed as any object
    asked = study(goal=Goal("waiting", waiting), checks=(Check("also", waiting),))
    found = calibrate(*parts(), lettered({3: 1.0}), asked, SEARCH, LOOSE, new_tokens=8)
    assert found.verdict.publish
    assert given == [*parts(), *parts()]


def test_a_reader_of_the_recipe_that_is_calibrated_can_be_its_goal() -> None:
    found = trait_reader(load_recipe(ROOT / "vectors" / "formality"))
    assert found.reliable
