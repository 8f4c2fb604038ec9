"""Flags, conditions and situations in which much depends on few names."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from tests.rules.support import NAN
from tests.rules.test_truth import Tree, text_of

__all__ = [
    "CLASSIFIERS",
    "HEAD",
    "THRESHOLDS",
    "VECTORS",
    "conditions",
    "flag_lines",
    "quoted",
    "scores",
    "situations",
]

CLASSIFIERS = {"s": ("a", "b", "c")}
HEAD = """\
guardsteer: 1
name: linted
context: {tier: int, share: float, beta: bool}
classifiers: {s: {use: s, on: all}}
"""
VECTORS = "vectors: {v0: {use: v}, v1: {use: v}, v2: {use: v}}\n"
THRESHOLDS = [0.25, 0.5, 0.75]

numbers = st.one_of(
    st.sampled_from(
        [("signal", "s.a"), ("signal", "s.a"), ("signal", "s.b"), ("step",), ("request", "tier")]
    ),
    st.sampled_from([("request", "share"), ("number", 0), ("number", 0.25), ("number", 0.5), ("number", 1)]),
)
texts = st.sampled_from([("request", "tenant"), ("request", "role"), ("text", "x"), ("text", "y")])
truths = st.sampled_from(
    [
        *(("flag", name) for name in ("fa", "fb", "fc")),
        ("request", "beta"),
        ("constant", True),
        ("constant", False),
    ]
)
simple = st.one_of(
    truths,
    st.tuples(st.just("compare"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers, numbers),
    st.tuples(st.just("compare"), st.sampled_from(["==", "!="]), texts, texts),
    st.tuples(st.just("compare"), st.sampled_from(["==", "!="]), truths, truths),
    st.tuples(st.just("in"), numbers, st.lists(st.sampled_from([0, 0.25, 1]), min_size=1, max_size=2)),
    st.tuples(st.just("in"), texts, st.lists(st.sampled_from(["x", "z"]), min_size=1, max_size=2)),
)
varied = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "and", "or"]), inner, inner)
    ),
    max_leaves=4,
)
# Few names and few thresholds, so that conditions often exclude or imply one another.
close = st.one_of(
    st.sampled_from(
        [("flag", "fa"), ("flag", "fc"), ("flag", "fa"), ("request", "beta"), ("constant", True)]
    ),
    st.tuples(
        *(
            st.just("compare"),
            st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
            st.just(("signal", "s.a")),
        ),
        st.sampled_from([("number", 0), *(("number", t) for t in THRESHOLDS)]),
    ),
    st.tuples(
        *(st.just("compare"), st.sampled_from(["==", "!=", "<", ">="])),
        *(st.sampled_from([("step",), ("request", "tier")]), st.sampled_from([("number", 0), ("number", 1)])),
    ),
)
crowded = st.recursive(
    close,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=3,
)
conditions = st.one_of(crowded, crowded, varied)
GRID = (0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.75, 1.0, NAN)
scores = st.sampled_from(GRID)


def situations(seed: int, rows: int = 40, steps: int = 6) -> list[tuple[list[list[float]], dict[str, Any]]]:
    """Return many rows of scores that stay for a while, each with a request that may lack keys."""
    draw = random.Random(seed)
    found = []
    for _ in range(rows):
        scores = [[draw.choice(GRID) for _ in range(3)]]
        while len(scores) < steps:
            last = scores[-1]
            scores.append([score if draw.random() < 0.4 else draw.choice(GRID) for score in last])
        whole: dict[str, Any] = {
            "tier": draw.randint(-1, 2),
            "share": draw.choice((0.0, 0.25, 0.5)),
            "beta": draw.random() < 0.5,
        }
        whole |= {"tenant": draw.choice("xyz"), "role": draw.choice("xy")}
        found.append((scores, {key: value for key, value in whole.items() if draw.random() < 0.8}))
    return found


@st.composite
def flag_lines(draw: st.DrawFn) -> str:
    """Flags of every kind, two of them on one signal."""
    lines = ["flags:"]
    for name, signal in (("fa", "s.a"), ("fb", "s.b"), ("fc", "s.a")):
        leave, enter = sorted((draw(st.sampled_from(THRESHOLDS)), draw(st.sampled_from(THRESHOLDS))))
        extra = draw(
            st.sampled_from(
                [
                    *(
                        "",
                        "",
                        "",
                        ", after: 2",
                        ", hold: 2",
                        ", latch: true",
                        ", cooldown: 2",
                        ", per: sentence",
                    ),
                    *(", after: 2, of_last: 3", ", smooth: {max: 2}", ", smooth: {ema: 0.5}"),
                ]
            )
        )
        lines.append(f"  {name}: {{signal: {signal}, enter: {enter}, exit: {leave}{extra}}}")
    return "\n".join(lines) + "\n"


def quoted(tree: Tree) -> str:
    """Return a condition in double quotes within single ones."""
    return "'" + text_of(tree).replace("'", '"') + "'"
