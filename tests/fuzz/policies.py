"""Policies for the fuzzer: correct ones, and correct ones to which something was done."""

from __future__ import annotations

import math
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.fuzz.trees import STYLES, correct_trees, written

__all__ = ["OUTPUTS", "POLICIES", "changed_trees", "mutations", "score_rows"]

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
    """\
guardsteer: 1
name: ladder
classifiers:
  intent: {use: i, on: user, on_error: open, deadline_ms: 2.5, breaker: {failures: 3, rest_s: 30}}
flags:
  up:   {signal: intent.billing, enter: 0.6, after: 3, of_last: 5, cooldown: 4, smooth: {ema: 0.3}}
  down: {signal: intent.other, enter: 0.6, smooth: {max: 8}, per: sentence}
vectors:
  v: {use: v, site: heads, heads: [0, 3], max_strength: 0.5}
  w: {use: w, site: mlp}
profiles:
  warm:  {add: {vector: v, strength: 0.3, keep_norm: true, ramp: 8, stronger: {every: 8, by: 0.1}}}
  plain: {}
rules:
  - {id: look, when: up, observe: true, on_error: open}
  - id: pick
    when: '"vip" in request.labels && step < 9'
    route: {up: warm, down: plain, otherwise: warm}
  - {id: hold, when: "true", hold_back: 8}
  - id: again
    when: down
    ablate: {vector: w, strength: 0.5, half_life: 16, until: sentence_end}
    clamp: [{vector: v, low: -0.1, high: 0.2}]
    revise: {tokens: 12, most: 2, steps: 32, then: halt}
    on_error: last_state
budget: 0.5
overrides: [{vector: v, from: 0, to: 0.4, tenants: [acme], outside: clamp}]
binding:
  mode: shadow
  rules: {pick: shadow, again: "off"}
  rollout: {percent: 12.5, by: request.tenant, salt: x, otherwise: shadow}
  arms: [candidate, control]
fallback: "No."
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
        "otherwise",
        "sentence",
        "shadow",
        "request.labels",
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
    st.sampled_from(
        ["intent.billing", "billing", "rude && rude", "empathy", "all", "generated", "user", "warm"]
    ),
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
