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

from hypothesis import HealthCheck, given, seed, settings

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import ClassifierSpec, Policy, SteerSpec
from guardsteer.errors import PolicyError
from guardsteer.rules import compile_policy, lint, load_policy
from tests.fuzz.policies import OUTPUTS, POLICIES, mutations, score_rows
from tests.fuzz.trees import STYLES, correct_trees, written

LONGEST_SECONDS = 5.0


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
        assert flag.of_last is None or flag.after <= flag.of_last
    for rule in policy.rules:
        protects = rule.disable or rule.halt or rule.revise is not None or rule.hold_back is not None
        assert rule.steer or protects or rule.observe
        assert policy.fallback or not (rule.halt or (rule.revise is not None and rule.revise.then == "halt"))
        assert set(rule.disable) <= set(vectors)
        named = [steer.vector for steer in rule.steer]
        assert len(set(named)) == len(named)
        for steer in rule.steer:
            assert_steer(steer, vectors[steer.vector].max_strength)
    for rule_id, _ in policy.binding.rules:
        assert rule_id in {rule.id for rule in policy.rules}
    for override in policy.overrides:
        most = vectors[override.vector].max_strength
        assert 0 <= override.low <= override.high <= (most if most is not None else math.inf)


def assert_steer(steer: SteerSpec, most: float | None) -> None:
    """One use of a vector has what its operator needs, within bounds."""
    if steer.operator == "clamp":
        assert steer.low is not None or steer.high is not None
        assert steer.low is None or steer.high is None or steer.low <= steer.high
        return
    assert (steer.strength is None) != (steer.alpha is None)
    if steer.operator == "ablate":
        assert steer.strength is not None
        most = 1.0
    assert steer.strength is None or 0 < steer.strength <= (most if most is not None else math.inf)


def run(policy: Policy, rows: list[list[float]]) -> None:
    """A loaded policy compiles, is linted, and decides within its limits."""
    assert all(warning.line for warning in lint(policy))
    program = compile_policy(
        policy,
        {spec.name: outputs_of(spec) for spec in policy.classifiers},
        alpha_to_strength={vector.name: 0.1 for vector in policy.vectors},
    )
    row = program.start({})
    for scores in rows:
        signals = (scores * program.n_signals)[: program.n_signals]
        plan = row.before(signals)
        assert len(plan.strengths) == len(plan.rules) == len(program.channels)
        for strength, channel in zip(plan.strengths, program.channels, strict=True):
            most = policy.vectors[channel.vector].max_strength if channel.operator == "add" else 1.0
            assert abs(strength) <= (most if most is not None else math.inf)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(data=mutations, rows=score_rows)
def test_a_mutated_policy_is_loaded_correctly_or_refused_with_a_place(
    data: bytes, rows: list[list[float]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try_policy(data, Path(folder) / "policy.yaml", rows)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(tree=correct_trees(), flow=STYLES, rows=score_rows)
def test_a_correct_policy_is_loaded_however_it_is_written(
    tree: Any, flow: bool | None, rows: list[list[float]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert try_policy(written(tree, flow).encode(), Path(folder) / "policy.yaml", rows) == "loaded"


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
