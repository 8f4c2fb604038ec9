"""Correct policies as trees, with every field of the language."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

__all__ = ["STYLES", "correct_trees", "written"]

CONDITIONS = [
    "fa",
    "!fb && c0.score < 0.5",
    "true",
    'request.tenant in ["x", "y"] || !(c1.match >= 1)',
    "step >= 3 && (fa || c0.other != c0.billing)",
    "request.tier == 2 || fa == request.beta",
    "!!(request.share <= 0.5)\n&& step in [0, 1]",
    '!("vip" in request.labels) || fb',
]
PLACES = ["generated", "last_prompt_token", "assistant", "all"]
SITES = ["embedding", "block_input", "attention", "mlp", "block_output"]
STYLES = st.sampled_from([None, True, False])
shares = st.integers(0, 100).map(lambda percent: percent / 100)
amounts = st.integers(1, 30).map(lambda tenths: tenths / 10)
errors = st.sampled_from(["closed", "open", "last_state"])
modes = st.sampled_from(["off", "shadow", "enforce"])


def some(draw: st.DrawFn, **fields: Any) -> dict[str, Any]:
    """Return some of ``fields``, drawn where a value is a strategy."""
    kept = [key for key in fields if draw(st.booleans())]
    return {
        key: draw(fields[key]) if isinstance(fields[key], st.SearchStrategy) else fields[key] for key in kept
    }


@st.composite
def flag_trees(draw: st.DrawFn) -> dict[str, Any]:
    """A correct flag."""
    leave, enter = sorted((draw(shares), draw(shares)))
    signal = draw(st.sampled_from(["c0.billing", "c0.score", "c1.match"]))
    extra = some(
        draw, exit=leave, after=3, of_last=st.integers(3, 9), hold=0, cooldown=st.integers(0, 4), latch=True
    )
    smooth = st.sampled_from([{"ema": 0.3}, {"ema": 1}, {"max": 4}])
    return {"signal": signal, "enter": enter, **extra, **some(draw, smooth=smooth, per="sentence")}


@st.composite
def push_trees(draw: st.DrawFn, vector: str) -> dict[str, Any]:
    """A correct ``add`` or ``subtract``."""
    amount = {draw(st.sampled_from(["strength", "alpha"])): draw(amounts)}
    stronger = st.fixed_dictionaries({"every": st.integers(1, 9), "by": amounts})
    schedule = some(draw, ramp=st.integers(1, 9), half_life=amounts, stronger=stronger, until="sentence_end")
    return {"vector": vector, **amount, **some(draw, keep_norm=st.booleans()), **schedule}


@st.composite
def steering_trees(draw: st.DrawFn, vectors: list[str]) -> dict[str, Any]:
    """Correct steering, with each vector once."""
    found: dict[str, Any] = {}
    for vector in vectors:
        operator = draw(st.sampled_from(["add", "add", "subtract", "ablate", "clamp"]))
        if operator == "ablate":
            use = {"vector": vector, **some(draw, strength=0.5, ramp=3, keep_norm=True)}
        elif operator == "clamp":
            use = {"vector": vector, "high": draw(amounts), **some(draw, low=-1.5, until="sentence_end")}
        else:
            use = draw(push_trees(vector))
        found.setdefault(operator, []).append(use)
    return {key: uses if len(uses) > 1 or draw(st.booleans()) else uses[0] for key, uses in found.items()}


@st.composite
def rule_trees(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """A correct rule."""
    rule: dict[str, Any] = {"id": f"r-{number}", "when": draw(st.sampled_from(CONDITIONS))}
    order = draw(st.permutations(["v0", "v1", "v2"]))
    kind = draw(
        st.sampled_from(["steer", "steer", "disable", "all", "halt", "route", "revise", "everything"])
    )
    if kind in ("steer", "everything"):
        rule |= draw(steering_trees(order[:2]))
    if kind in ("disable", "everything"):
        rule["disable"] = order[2:] if draw(st.booleans()) else order[2]
    elif kind == "all":
        rule["disable"] = "all"
    if kind in ("halt", "everything"):
        rule["halt"] = True
    if kind in ("revise", "everything"):
        back: dict[str, Any] = draw(st.sampled_from([{"tokens": 3}, {"back_to": "sentence"}]))
        rule["revise"] = {**back, **some(draw, most=2, steps=4, then=st.sampled_from(["halt", "continue"]))}
        rule |= some(draw, hold_back=st.integers(0, 9))
    if kind == "route":
        rule["route"] = {"fa": "pa", "fb": draw(st.sampled_from(["pa", "pb"])), **some(draw, otherwise="pb")}
    return rule | some(draw, priority=st.integers(-9, 9), on_error=errors, observe=st.booleans())


@st.composite
def binding_trees(draw: st.DrawFn, rules: list[str]) -> dict[str, Any]:
    """A correct binding."""
    binding = some(draw, mode=modes)
    if rules:
        binding |= some(draw, rules=st.dictionaries(st.sampled_from(rules), modes))
    if draw(st.booleans()):
        by = st.sampled_from(["request.request", "request.tenant"])
        binding["rollout"] = {
            "percent": draw(st.integers(0, 100)),
            **some(draw, by=by, salt="s", otherwise=modes),
        }
        binding |= some(draw, arms=["a", "b"])
    return binding


@st.composite
def correct_trees(draw: st.DrawFn) -> Any:
    """A correct policy as a tree."""
    words = ["damn", draw(st.sampled_from(["no", "1.5", "é: #", "'"]))]
    pattern = draw(st.sampled_from([r"\bugh+\b", "[^a]x{2,3}", "(?i)é|ü", r"\pL+!"]))
    positions = draw(st.lists(st.sampled_from(PLACES), min_size=1, unique=True))
    blocks = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
    rules = [draw(rule_trees(number)) for number in range(draw(st.integers(0, 4)))]
    breaker = st.sampled_from([{}, {"failures": 2}, {"rest_s": 0.5}])
    override = {"vector": "v0", "from": 0, "to": 1.5}
    return {
        "guardsteer": 1,
        "name": draw(st.sampled_from(["a", "support-2", "x.y_z"])),
        "context": {"tier": "int", "beta": "bool", "share": "float"},
        "classifiers": {
            "c0": {
                "use": "asset",
                "on": draw(st.sampled_from(["prompt", "user", "generation", "all"])),
                **some(draw, on_error=errors, deadline_ms=amounts, breaker=breaker),
            },
            "c1": {"on": "all", "literals": words, "patterns": [pattern]},
        },
        "flags": {"fa": draw(flag_trees()), "fb": draw(flag_trees())},
        "vectors": {
            "v0": {"use": "./v", "max_strength": 3.0, **some(draw, site=st.sampled_from(SITES))},
            "v1": {"use": "v", "positions": positions, **some(draw, site="heads")},
            "v2": {"use": "v", "blocks": blocks, "site": "heads", "heads": [0, 2]},
        },
        "profiles": {"pa": draw(steering_trees(["v0", "v1"])), "pb": {}},
        "rules": rules,
        **some(
            draw, budget=amounts, overrides=st.sampled_from([[override], [{**override, "tenants": ["x"]}]])
        ),
        **some(draw, binding=binding_trees([rule["id"] for rule in rules])),
        "fallback": "stop",
        "audit": {"on_error": draw(st.sampled_from(["closed", "open", "last_state", "halt"]))},
    }


def written(tree: Any, flow: bool | None) -> str:
    """Return a tree as YAML."""
    text: str = yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True, sort_keys=False)
    return text
