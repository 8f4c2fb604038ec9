"""Whatever is done to a policy file, it is loaded correctly or refused with a place; nothing else happens.

``python -m tests.fuzz.test_policies --examples 10000`` tries more than a test run does.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import ClassifierSpec, Policy
from guardsteer.errors import PolicyError
from guardsteer.rules import compile_policy, load_policy

LONGEST_SECONDS = 5.0
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
audit: {on_failure: stop_steering}
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


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    """A policy in which some bytes were changed, cut, doubled, or taken from elsewhere."""
    data = bytearray(draw(st.sampled_from(POLICIES)).encode())
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
    tree: Any = yaml.safe_load(draw(st.sampled_from(POLICIES)))
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        parent, key = draw(st.sampled_from(sorted_places(tree)))
        kind = draw(st.sampled_from(["replace", "drop", "rename", "copy"]))
        if kind == "replace":
            parent[key] = draw(values)
        elif kind == "drop":
            del parent[key]
        elif kind == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(WORDS) | st.text(max_size=6))] = parent.pop(key)
        else:
            other, place = draw(st.sampled_from(sorted_places(tree)))
            parent[key] = yaml.safe_load(yaml.safe_dump(other[place]))
        if not sorted_places(tree):
            break
    style = draw(st.sampled_from([None, True, False]))
    dumped: bytes = yaml.safe_dump(
        tree, encoding="utf-8", default_flow_style=style, allow_unicode=True, sort_keys=False
    )
    return dumped


def sorted_places(node: Any) -> list[tuple[Any, Any]]:
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
        found += sorted_places(child)
    return found


mutations = st.one_of(damaged_bytes(), changed_trees(), st.binary(max_size=64))
score_rows = st.lists(
    st.lists(st.floats(0, 1) | st.just(math.nan), min_size=7, max_size=7), min_size=1, max_size=3
)


def outputs_of(spec: ClassifierSpec) -> tuple[str, ...]:
    """Every asset has the same outputs here."""
    return OUTPUTS if spec.use is not None else ("match",)


def try_policy(data: bytes, path: Path, rows: list[list[float]]) -> str:
    """Load ``data``; return "loaded" or "refused". Raises ``AssertionError`` for anything else."""
    path.write_bytes(data)
    started = time.process_time()
    try:
        policy = load_policy(path, outputs=outputs_of)
    except PolicyError as error:
        assert_places(error, data)
        outcome = "refused"
    else:
        assert_consistent(policy, data)
        run(policy, rows)
        outcome = "loaded"
    assert time.process_time() - started < LONGEST_SECONDS
    return outcome


def assert_places(error: PolicyError, data: bytes) -> None:
    """Every problem says where in the file it is, and what is wrong."""
    lines = data.decode("utf-8", "replace").split("\n")
    assert error.problems
    for problem in error.problems:
        assert problem.message
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 2
        assert str(problem) in str(error)
        for jargon in ("pydantic", "Traceback", "validator", "<class"):
            assert jargon not in problem.message


def assert_consistent(policy: Policy, data: bytes) -> None:
    """What was loaded keeps the promises of a checked policy."""
    vectors = {vector.name: vector for vector in policy.vectors}
    classifiers = {spec.name for spec in policy.classifiers}
    assert policy.digest == digest_bytes(data)
    assert len({rule.id for rule in policy.rules}) == len(policy.rules)
    for flag in policy.flags:
        assert 0 <= flag.exit <= flag.enter <= 1
        assert flag.signal.split(".")[0] in classifiers
    for rule in policy.rules:
        assert rule.steer or rule.disable or rule.halt
        assert not rule.halt or policy.fallback
        assert set(rule.disable) <= set(vectors)
        for steer in rule.steer:
            most = vectors[steer.vector].max_strength
            assert (steer.strength is None) != (steer.alpha is None)
            assert steer.strength is None or 0 < steer.strength <= (most if most is not None else math.inf)


def run(policy: Policy, rows: list[list[float]]) -> None:
    """A loaded policy compiles and decides, within its limits."""
    program = compile_policy(
        policy,
        {spec.name: outputs_of(spec) for spec in policy.classifiers},
        alpha_to_strength={vector.name: 0.1 for vector in policy.vectors},
    )
    row = program.start({})
    for scores in rows:
        signals = (scores * program.n_signals)[: program.n_signals]
        plan = row.before(signals)
        assert len(plan.strengths) == len(plan.rules) == len(policy.vectors)
        for strength, vector in zip(plan.strengths, policy.vectors, strict=True):
            assert abs(strength) <= (vector.max_strength if vector.max_strength is not None else math.inf)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(data=mutations, rows=score_rows)
def test_a_mutated_policy_is_loaded_correctly_or_refused_with_a_place(
    data: bytes, rows: list[list[float]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try_policy(data, Path(folder) / "policy.yaml", rows)


def test_the_policies_that_are_mutated_are_correct_themselves(tmp_path: Path) -> None:
    for text in POLICIES:
        assert try_policy(text.encode(), tmp_path / "policy.yaml", [[0.9] * 7]) == "loaded"


def main() -> None:
    """Try many mutations and print how many were loaded and refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes: Counter[str] = Counter()
    many = settings(
        max_examples=arguments.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"

        @seed(arguments.seed)
        @many
        @given(data=mutations, rows=score_rows)
        def attempt(data: bytes, rows: list[list[float]]) -> None:
            outcomes[try_policy(data, path, rows)] += 1

        attempt()
    loaded, refused = outcomes["loaded"], outcomes["refused"]
    print(f"{loaded + refused} mutated policies: {loaded} loaded, {refused} refused with a place")


if __name__ == "__main__":
    main()
