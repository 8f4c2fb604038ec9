"""Warnings are true: what is said never to happen happens in no situation, as the engine itself shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardsteer.rules import compile_policy, lint, parse_policy
from guardsteer.rules.lint_notes import LintWarning
from tests.rules.crowds import CLASSIFIERS, HEAD, VECTORS, conditions, flag_lines, quoted, situations
from tests.rules.flaws import CLEAN, FLAWS
from tests.rules.support import FILE, changed, step


@st.composite
def rule_lines(draw: st.DrawFn) -> str:
    """Rules that get into one another's way."""
    pool = draw(st.lists(conditions, min_size=1, max_size=2))
    lines = ["rules:"]
    for index in range(draw(st.integers(2, 5))):
        tree = draw(st.sampled_from(pool))
        if draw(st.booleans()):
            tree = (draw(st.sampled_from(["and", "or"])), tree, draw(st.sampled_from(pool)))
        vectors = draw(st.permutations(["v0", "v1", "v2"]))
        action = draw(
            st.sampled_from(
                [
                    f"add: {{vector: {vectors[0]}, strength: {index + 1}}}",
                    f"add: {{vector: {vectors[0]}, strength: {index + 1}}}",
                    f"add: {{vector: {vectors[0]}, strength: {index + 1}}}, disable: {vectors[1]}",
                    f"subtract: [{{vector: {vectors[0]}, alpha: 2}}, {{vector: {vectors[1]}, alpha: 3}}]",
                    f"disable: {vectors[0]}",
                    *("halt: true", "hold_back: 2", "hold_back: 5", "revise: {tokens: 3}"),
                    *("revise: {tokens: 3, then: continue}", "revise: {tokens: 3, then: continue}"),
                    f"add: {{vector: {vectors[0]}, strength: 1}}, revise: {{tokens: 3, steps: 2}}",
                ]
            )
        )
        error = draw(st.sampled_from(["closed", "closed", "open", "last_state"]))
        priority = draw(st.integers(0, 1))
        lines.append(
            f"- {{id: r{index}, when: {quoted(tree)}, priority: {priority}, {action}, on_error: {error}}}"
        )
    return "\n".join(lines) + "\n"


def named_in(warning: LintWarning) -> str:
    """Return the id of the rule that a warning is about."""
    return warning.message.split("'")[1]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flags=flag_lines(), rules=rule_lines(), seed=st.integers(0, 2**32))
def test_a_rule_that_is_called_unreachable_or_beaten_never_decides_anything(
    flags: str, rules: str, seed: int
) -> None:
    policy = parse_policy(f"{HEAD}{flags}{VECTORS}{rules}fallback: stop\n", FILE)
    ids = [rule.id for rule in policy.rules]
    program = compile_policy(policy, CLASSIFIERS, alpha_to_strength=dict.fromkeys(("v0", "v1", "v2"), 1.0))
    fired: set[str] = set()
    decided: set[tuple[str, str]] = set()
    for rows, context in situations(seed):
        row = program.start(context)
        for signals in rows:
            plan = step(row, signals)
            fired |= {change.name for change in row.changes if change.kind == "rule" and change.up}
            if plan.revise >= 0:
                row.revised(plan.revise)
            ended = [("halt", plan.halt), ("revise", plan.revise)]
            steered = [
                (policy.vectors[channel.vector].name, rule)
                for channel, rule in zip(program.channels, plan.rules, strict=True)
            ]
            decided |= {(ids[rule], what) for what, rule in ended + steered if rule >= 0}
    for warning in lint(policy):
        if warning.kind not in ("unreachable", "beaten", "fight"):
            continue
        name = named_in(warning)
        if warning.kind == "unreachable" and "where something is missing" not in warning.message:
            assert name not in fired
        elif warning.kind == "beaten":
            assert not {what for who, what in decided if who == name}
        elif warning.kind == "fight":
            assert (name, warning.message.split("'")[3]) not in decided


def test_a_policy_without_flaws_gets_no_warning() -> None:
    assert lint(parse_policy(CLEAN, FILE)) == ()


@pytest.mark.parametrize(("old", "new", "kind", "line", "column", "message"), FLAWS)
def test_a_flaw_is_told_at_its_place(
    old: str, new: str, kind: str, line: int, column: int, message: str
) -> None:
    text = CLEAN.replace("w: {use: w}", "w: {use: w}, x: {use: x}") if "disable: x" in new else CLEAN
    warnings = lint(parse_policy(changed(old, new, text), FILE))
    if not kind:
        assert warnings == ()
        return
    found = [w for w in warnings if message in w.message]
    assert found, [str(w) for w in warnings]
    assert (found[0].kind, found[0].line, found[0].column) == (kind, line, column), str(found[0])
    assert str(found[0]).startswith(f"{FILE}:{line}:{column}: warning: ")
    assert found[0].source == changed(old, new, text).split("\n")[line - 1]


def test_vectors_that_never_meet_need_no_budget() -> None:
    text = CLEAN.replace("budget: 1\n", "")
    for one, other in (("positions: [generated]", "positions: [assistant]"), ("blocks: [1]", "blocks: [2]")):
        apart = text.replace("max_strength: 1", f"max_strength: 1, {one}").replace(
            "{use: w}", f"{{use: w, {other}}}"
        )
        assert lint(parse_policy(apart, FILE)) == ()
    excluding = text.replace("when: high,", "when: '!low',").replace("s.b > 0.5", "low")
    assert "no-budget" not in {w.kind for w in lint(parse_policy(excluding, FILE))}


def test_a_policy_made_in_code_is_linted_without_places() -> None:
    policy = replace(parse_policy(CLEAN.replace("high &&", ""), FILE), text="", budget=None)
    assert [(w.kind, w.line) for w in lint(policy)] == [("no-budget", 0)]
