"""Policies for the fuzzer: correct ones, and correct ones to which something was done."""

from __future__ import annotations

import math
from typing import Any

import yaml
from hypothesis import strategies as st

__all__ = ["OUTPUTS", "POLICIES", "STYLES", "correct_trees", "mutations", "score_rows", "written"]

OUTPUTS = ("billing", "other", "score")

POLICIES = [
    """\
guardsteer: 1
name: support
context: {tier: int, beta: bool, share: float, area: string}
classifiers:
  intent:   {use: support-intent, on: user}
  swearing: {literals: [damn], patterns: ['\\bugh+\\b', "[a-f]+x"], on: all, ignore_case: true}
  refusal:  {use: refusal, on: generation}
flags:
  billing:  {signal: intent.billing, enter: 0.60, exit: 0.5, after: 2, hold: 8, latch: false}
  rude:     {signal: swearing.match, enter: 1}
  refusing: {signal: refusal.score, enter: 0.5, latch: true}
vectors:
  empathy:    {use: empathy, max_strength: 0.40, blocks: [4], positions: [last_prompt_token, generated]}
  sycophancy: {use: ./vectors/sycophancy}
rules:
  - id: warm-billing
    when: billing && !refusing && request.tenant != "x" && intent.other < 0.3 && step < 64
    priority: 10
    add: {vector: empathy, strength: 0.30}
  - id: less
    when: >-
      rude || request.tier in [1, 2]
      && request.beta == true
    subtract:
      - {vector: sycophancy, alpha: 4.0}
  - {id: refusal-path, when: refusing, disable: all}
  - {id: stop, when: "rude && intent.billing >= request.share", halt: true}
fallback: "I'm sorry, I can't continue with that."
audit: {on_error: closed}
""",
    """\
guardsteer: 1
name: plain
classifiers:
  a: {use: x, on: prompt}
vectors: {v: {use: v}}
rules:
- when: |
    !(a.score < 0.5) || step in [0, 1]
  id: one
  add: {vector: v, strength: 1}
""",
]

WORDS = [
    *[
        "no",
        "yes",
        "on",
        "~",
        "null",
        "true",
        "0x1f",
        "010",
        "1_000",
        "12:30",
        ".nan",
        ".inf",
        "1e999",
        "!!python/object/apply:os.system",
    ],
    *[
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        '"',
        "\\",
        "|",
        ">",
        "#",
        "&&",
        "||",
        "(",
        ")",
        "!",
        "==",
        "!=",
        "<=",
        "request.",
        "step",
        "intent.",
        "(?=a)",
        "(a)\\1",
        "2024-01-01",
        "-1",
    ],
    *[
        "__import__('os')",
        "é",
        "😀",
        "0",
        "1",
        "0.5",
        "0.25",
        "rude",
        "billing",
        "empathy",
        "all",
        "user",
        "prompt",
        "request.tier",
    ],
    *(
        "&a ",
        "*a",
        "!x ",
        "<<: ",
        "- ",
        ": ",
        "? ",
        " in ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "\n",
        "  ",
        " #",
    ),
    *("\t", "\r", "\x00", "\ufeff", "\u2028", "\u202e", "9" * 30, "a" * 70, "(" * 40, "!" * 40, "[" * 40),
    *("{a: " * 40, "guardsteer: 2", "halt: true", " && step < 3", "priority: 3\n    "),
]


CONDITIONS = [
    "fa",
    "!fb && c0.score < 0.5",
    "true",
    'request.tenant in ["x", "y"] || !(c1.match >= 1)',
    "step >= 3 && (fa || c0.other != c0.billing)",
    "request.tier == 2 || fa == request.beta",
    "!!(request.share <= 0.5)\n&& step in [0, 1]",
]
PLACES = ["generated", "last_prompt_token", "assistant", "all"]
STYLES = st.sampled_from([None, True, False])
shares = st.integers(0, 100).map(lambda percent: percent / 100)
amounts = st.integers(1, 30).map(lambda tenths: tenths / 10)


@st.composite
def flag_trees(draw: st.DrawFn) -> dict[str, Any]:
    """A correct flag."""
    leave, enter = sorted((draw(shares), draw(shares)))
    signal = draw(st.sampled_from(["c0.billing", "c0.score", "c1.match"]))
    flag: dict[str, Any] = {"signal": signal, "enter": enter}
    for key, value in (("exit", leave), ("after", 3), ("hold", 0), ("latch", True)):
        if draw(st.booleans()):
            flag[key] = value
    return flag


@st.composite
def rule_trees(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """A correct rule."""
    rule: dict[str, Any] = {"id": f"r-{number}", "when": draw(st.sampled_from(CONDITIONS))}
    order = draw(st.permutations(["v0", "v1", "v2"]))
    steers = [
        {"vector": name, draw(st.sampled_from(["strength", "alpha"])): draw(amounts)} for name in order[:2]
    ]
    kind = draw(st.sampled_from(["add", "both", "disable", "all", "halt", "everything"]))
    if kind in ("add", "everything"):
        rule["add"] = steers if draw(st.booleans()) else steers[0]
    elif kind == "both":
        rule |= {"add": steers[0], "subtract": steers[1:]}
    if kind in ("disable", "everything"):
        rule["disable"] = order[2:] if draw(st.booleans()) else order[2]
    elif kind == "all":
        rule["disable"] = "all"
    if kind in ("halt", "everything"):
        rule["halt"] = True
    if draw(st.booleans()):
        rule["priority"] = draw(st.integers(-9, 9))
    return rule


@st.composite
def correct_trees(draw: st.DrawFn) -> Any:
    """A correct policy as a tree."""
    words = ["damn", draw(st.sampled_from(["no", "1.5", "é: #", "'"]))]
    pattern = draw(st.sampled_from([r"\bugh+\b", "[^a]x{2,3}", "(?i)é|ü", r"\pL+!"]))
    positions = draw(st.lists(st.sampled_from(PLACES), min_size=1, unique=True))
    blocks = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
    return {
        "guardsteer": 1,
        "name": draw(st.sampled_from(["a", "support-2", "x.y_z"])),
        "context": {"tier": "int", "beta": "bool", "share": "float"},
        "classifiers": {
            "c0": {"use": "asset", "on": draw(st.sampled_from(["prompt", "user", "generation", "all"]))},
            "c1": {"on": "all", "literals": words, "patterns": [pattern]},
        },
        "flags": {"fa": draw(flag_trees()), "fb": draw(flag_trees())},
        "vectors": {
            "v0": {"use": "./v", "max_strength": 3.0},
            "v1": {"use": "v", "positions": positions},
            "v2": {"use": "v", "blocks": blocks},
        },
        "rules": [draw(rule_trees(number)) for number in range(draw(st.integers(0, 4)))],
        "fallback": "stop",
        "audit": {"on_error": draw(st.sampled_from(["closed", "open", "last_state", "halt"]))},
    }


def written(tree: Any, flow: bool | None) -> str:
    """Return a tree as YAML."""
    text: str = yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True, sort_keys=False)
    return text


texts = st.sampled_from(POLICIES) | st.builds(written, correct_trees(), STYLES)


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    """A policy in which some bytes were changed, cut, doubled, or taken from elsewhere."""
    data = bytearray(draw(texts).encode())
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 5]))):
        at = draw(st.integers(0, len(data)))
        end = min(at + draw(st.integers(0, 12)), len(data))
        kind = draw(st.sampled_from(["flip", "digit", "cut", "insert", "word", "double", "splice"]))
        if kind == "flip" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "digit":
            change_digit(data, at, draw(st.sampled_from(b"0123456789")))
        elif kind == "cut":
            del data[at:end]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=4))
        elif kind == "word":
            data[at : end if draw(st.booleans()) else at] = draw(st.sampled_from(WORDS)).encode()
        elif kind == "double":
            data[at:at] = data[at : min(at + 80, len(data))]
        else:
            other = draw(st.sampled_from(POLICIES)).encode()
            start = draw(st.integers(0, len(other)))
            data[at:end] = other[start : start + 60]
    return bytes(data)


def change_digit(data: bytearray, start: int, digit: int) -> None:
    """Replace the first digit from ``start`` on."""
    for at in range(start, len(data)):
        if data[at : at + 1].isdigit():
            data[at] = digit
            return


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.sampled_from(["intent.billing", "billing", "rude && rude", "empathy", "all", "generated", "user"]),
)
values = st.recursive(
    scalars,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3),
    max_leaves=6,
)


@st.composite
def changed_trees(draw: st.DrawFn) -> bytes:
    """A policy in which some values were replaced, moved, renamed or dropped, written as YAML again."""
    tree: Any = draw(correct_trees())
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        parent, key = draw(st.sampled_from(places_in(tree)))
        kind = draw(st.sampled_from(["replace", "number", "number", "drop", "rename", "copy"]))
        if kind == "replace":
            parent[key] = draw(values)
        elif kind == "number":
            numbers = [place for place in places_in(tree) if isinstance(place[0][place[1]], int | float)]
            parent, key = draw(st.sampled_from(numbers))
            parent[key] = draw(st.sampled_from([0, 1, 2, 0.25, 0.5, 1.0]))
        elif kind == "drop":
            del parent[key]
        elif kind == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(WORDS) | st.text(max_size=6))] = parent.pop(key)
        else:
            other, place = draw(st.sampled_from(places_in(tree)))
            parent[key] = yaml.safe_load(yaml.safe_dump(other[place]))
        if not places_in(tree):
            break
    return written(tree, draw(STYLES)).encode()


def places_in(node: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) below ``node``, in order."""
    found: list[tuple[Any, Any]] = []
    children = (
        list(node.items())
        if isinstance(node, dict)
        else list(enumerate(node))
        if isinstance(node, list)
        else []
    )
    for key, child in children:
        found.append((node, key))
        found += places_in(child)
    return found


mutations = st.one_of(damaged_bytes(), changed_trees(), st.binary(max_size=64))
score_rows = st.lists(
    st.lists(st.floats(0, 1) | st.just(math.nan), min_size=7, max_size=7), min_size=1, max_size=3
)
