"""A policy pushes within the windows on the cards, in the way that they are for; so does all that ships."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.assets import Catalog, homes, resolve
from guardsteer.core.policy import Policy, Position, ScheduleSpec
from guardsteer.lab.prepare.needs import read_policy
from guardsteer.lab.prepare.windows import Use, findings, outside, unmeasured, uses_of
from guardsteer.rules import parse_policy
from guardsteer.steer import Recommendation, Vector, load_vector
from guardsteer.steer.artifact import Schedule

REPOSITORY = Path(__file__).resolve().parents[3]
POLICIES = sorted(
    path
    for folder in ("policies", "examples", "vectors")
    for path in REPOSITORY.glob(f"{folder}/**/*.yaml")
    if path.read_text(encoding="utf-8").partition("guardsteer: 1")[1] and path.name != "tests.yaml"
)
PUBLISHED = sorted(
    path
    for folder in ("vectors", "examples")
    for path in REPOSITORY.glob(f"{folder}/**/artifacts/*/*.safetensors")
)
BOTH: tuple[Position, ...] = ("last_prompt_token", "generated")


def _use(strength: float | None = 0.3, schedule: ScheduleSpec | None = None, **changes: object) -> Use:
    fields: dict[str, object] = {"alpha": None, "positions": BOTH} | changes
    return Use(rule="warm", vector="warmth", strength=strength, schedule=schedule, **fields)  # type: ignore[arg-type]  # fields by name


def _window(schedule: Schedule | None = None) -> Recommendation:
    return Recommendation(blocks=(2,), positions=BOTH, low=0.2, recommended=0.3, high=0.4, schedule=schedule)


@given(st.floats(0.01, 2.0))
def test_a_strength_is_inside_exactly_between_the_ends(strength: float) -> None:
    told = outside(_use(strength), _window())
    assert (
        bool(told) == (not 0.2 <= strength <= 0.4) or abs(strength - 0.2) < 1e-5 or abs(strength - 0.4) < 1e-5
    )
    if strength > 0.41:
        assert "too strong" in told
    if strength < 0.19:
        assert "too weak" in told


def test_a_push_that_grows_without_end_is_too_strong() -> None:
    assert "without end, which is too strong" in outside(_use(None), _window())


@pytest.mark.parametrize(
    ("used", "found", "fits"),
    [
        (None, None, True),
        (None, Schedule(half_life=8.0), False),
        (ScheduleSpec(half_life=8.0), Schedule(half_life=8.0), True),
        (ScheduleSpec(half_life=3.0), Schedule(half_life=8.0), True),
        (ScheduleSpec(half_life=9.0), Schedule(half_life=8.0), False),
        (ScheduleSpec(half_life=3.0), None, True),
        (ScheduleSpec(until_sentence_end=True), Schedule(until_sentence_end=True), True),
        (ScheduleSpec(half_life=3.0), Schedule(until_sentence_end=True), False),
        (ScheduleSpec(until_sentence_end=True), None, True),
    ],
)
def test_a_push_that_lasts_longer_than_its_window_allows_is_outside(
    used: ScheduleSpec | None, found: Schedule | None, fits: bool
) -> None:
    assert bool(outside(_use(0.3, used), _window(found))) == (not fits)


def test_a_weaker_push_at_other_positions_is_told_and_not_refused() -> None:
    after = _use(0.1, positions=("generated",))
    assert outside(after, _window()) == ""
    assert "found for another push" in unmeasured(after, _window())
    assert "too strong" in outside(_use(0.5, positions=("generated",)), _window())


def test_an_alpha_is_judged_by_the_norms_of_the_blocks() -> None:
    assert outside(_use(None, alpha=3.0), _window(), [10.0]) == ""
    assert "too strong" in outside(_use(None, alpha=5.0), _window(), [10.0])


def _policy(rules: str) -> Policy:
    return parse_policy(
        "guardsteer: 1\nname: test\nvectors:\n"
        "  warm: {use: warmth, max_strength: 0.9, positions: [last_prompt_token, generated]}\n"
        f"rules:\n{rules}",
        "policy.yaml",
    )


def test_every_push_of_a_policy_counts_and_one_that_grows_counts_at_its_most_too() -> None:
    rules = (
        "  - {id: a, when: step >= 0, add: {vector: warm, strength: 0.3, stronger: {every: 4, by: 0.1}}}\n"
        "  - {id: b, when: step >= 4, subtract: {vector: warm, strength: 0.25}}\n"
        "  - {id: c, when: step >= 8, clamp: {vector: warm, low: 0.0, high: 2.0}}\n"
    )
    found = uses_of(policy := _policy(rules), policy.vectors)
    assert [(use.rule, use.strength) for use in found] == [("a", 0.3), ("a", 0.9), ("b", 0.25)]
    beyond, rest = findings(found, _window())
    assert len(beyond) == 1
    assert "rule 'a' pushes warm by 0.9" in beyond[0]
    assert rest == ()


def _artifacts(policy: Policy) -> list[tuple[str, Vector]]:
    base, catalog = Path(policy.source).parent, Catalog()
    found = []
    for spec in policy.vectors:
        folder = resolve("vectors", spec.use, base, catalog)
        places = homes("vectors", spec.use, folder, catalog)
        files = {path for place in places for path in place.glob(f"artifacts/*/{folder.name}.safetensors")}
        found += [(spec.name, load_vector(path, fingerprint=None)) for path in sorted(files)]
    return found


def test_there_is_something_to_hold_against_its_windows() -> None:
    assert {path.parent.name for path in POLICIES} >= {"demo", "support", "warm_when_hostile", "ladder"}
    assert {path.stem for path in PUBLISHED} >= {"demo-empathy", "demo-sycophancy", "warmth"}


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_shipped_policy_pushes_a_published_vector_outside_its_window(path: Path) -> None:
    policy = read_policy(path, Catalog())
    for name, vector in _artifacts(policy):
        window = vector.card.recommended
        assert window is not None, f"{name} is published without a window"
        uses = uses_of(policy, [spec for spec in policy.vectors if spec.name == name])
        norms = [vector.residual_norm(block) for block in window.blocks]
        assert findings(uses, window, norms)[0] == ()


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_every_published_vector_has_a_window_with_its_best_strength_inside(path: Path) -> None:
    window = load_vector(path, fingerprint=None).card.recommended
    assert window is not None
    assert window.low <= window.recommended <= window.high


def test_a_policy_that_left_its_window_would_be_found() -> None:
    text = (REPOSITORY / "examples/warm_when_hostile/policy.yaml").read_text(encoding="utf-8")
    base = REPOSITORY / "examples/warm_when_hostile/policy.yaml"
    stronger = text.replace("strength: 0.38", "strength: 0.60").replace(
        "max_strength: 0.42", "max_strength: 0.60"
    )
    assert stronger != text
    policy = parse_policy(stronger, str(base), outputs=lambda _: ("score",))
    (name, vector), *_ = _artifacts(policy)
    window = vector.card.recommended
    assert window is not None
    uses = uses_of(policy, [spec for spec in policy.vectors if spec.name == name])
    assert "too strong" in findings(uses, window)[0][0]
