"""What a case expected against what held, and what explains the difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from guardsteer.cases.because import Because, fires_or_rests, up_or_down
from guardsteer.cases.model import Case, Expectation
from guardsteer.cases.replay import Seen
from guardsteer.core.plan import Plan
from guardsteer.core.policy import Policy
from guardsteer.rules.program import Program

__all__ = ["Mismatch", "judge"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Steps ``first`` to ``last`` at which one thing was not as expected; ``because`` explains the first."""

    line: int
    first: int
    last: int
    what: str
    expected: str
    got: str
    because: tuple[str, ...] = ()


def judge(policy: Policy, program: Program, case: Case, seen: Sequence[Seen]) -> list[Mismatch]:
    """Return how ``seen`` differs from what ``case`` expects, in the order of the expectations."""
    judge = _Judge(policy, program, Because(policy, program, case.context))
    return [
        mismatch for expectation in case.expect for mismatch in _joined(judge.mismatches(expectation, seen))
    ]


def _joined(found: Iterator[Mismatch]) -> list[Mismatch]:
    """Join what went wrong in the same way at steps in a row."""
    joined: dict[tuple[str, str, str, int], Mismatch] = {}
    for mismatch in found:
        same = (mismatch.what, mismatch.expected, mismatch.got, mismatch.first - 1)
        before = joined.pop(same, None)
        grown = mismatch if before is None else replace(before, last=mismatch.last)
        joined[(*same[:3], mismatch.last)] = grown
    return sorted(joined.values(), key=lambda mismatch: mismatch.first)


@dataclass(frozen=True, slots=True)
class _Judge:
    policy: Policy
    program: Program
    because: Because

    def mismatches(self, expectation: Expectation, seen: Sequence[Seen]) -> Iterator[Mismatch]:
        span, ended = expectation.span, seen[-1].step
        wanted = span.last if span.last is not None else span.first
        if wanted is not None and wanted > ended:
            yield self._too_short(expectation, wanted, seen[-1])
        after = None if span.last is None else span.last + 1
        for at in seen[-1:] if span.first is None else seen[span.first : after]:
            yield from self._flags_and_rules(expectation, at)
            yield from self._vectors(expectation, at)
            yield from self._row(expectation, at)

    def _too_short(self, expectation: Expectation, wanted: int, last: Seen) -> Mismatch:
        halt = last.plan.halt
        why = f"{self.program.rule_ids[halt]} halts it" if halt >= 0 else "give more text, signals or 'steps'"
        first = max(expectation.span.first or 0, last.step + 1)
        expected, got = f"to reach step {wanted}", f"its end at step {last.step}"
        return Mismatch(expectation.line, first, wanted, "the row", expected, got, (why,))

    def _flags_and_rules(self, expectation: Expectation, seen: Seen) -> Iterator[Mismatch]:
        for name, up in expectation.flags.items():
            if seen.flags[name] != up:
                about = self.because.flag(name, seen)
                yield _wrong(expectation, seen, f"flag {name}", up_or_down(up), up_or_down(not up), about)
        for name, fires in expectation.rules.items():
            if seen.rules[name] != fires:
                about = self.because.rule(name, seen)
                yield _wrong(
                    expectation, seen, f"rule {name}", fires_or_rests(fires), fires_or_rests(not fires), about
                )

    def _vectors(self, expectation: Expectation, seen: Seen) -> Iterator[Mismatch]:
        for name, asked in expectation.strengths.items():
            strength, _ = self._acting(seen.plan, name)
            if abs(strength - asked) > expectation.tolerance:
                about = self.because.vector(name, seen)
                yield _wrong(expectation, seen, f"strength of {name}", f"{asked:g}", f"{strength:.6g}", about)
        for name, wanted in expectation.operators.items():
            _, operator = self._acting(seen.plan, name)
            if operator != wanted:
                about = self.because.vector(name, seen)
                yield _wrong(expectation, seen, f"operator on {name}", wanted, operator, about)

    def _acting(self, plan: Plan, vector: str) -> tuple[float, str]:
        """Return the signed strength of a vector and the operator with which it acts."""
        place = next(place for place, spec in enumerate(self.policy.vectors) if spec.name == vector)
        for channel, strength in zip(self.program.channels, plan.strengths, strict=True):
            if channel.vector == place and strength:
                against = channel.operator == "add" and strength < 0
                return strength, "subtract" if against else channel.operator
        return 0.0, "none"

    def _row(self, expectation: Expectation, seen: Seen) -> Iterator[Mismatch]:
        for what, asked, got in (
            ("halt", expectation.halt, seen.plan.halt),
            ("revise", expectation.revise, seen.plan.revise),
        ):
            rule = self.program.rule_ids[got] if got >= 0 else ""
            if asked is None or asked == (bool(rule) if isinstance(asked, bool) else rule):
                continue
            name = asked if isinstance(asked, str) else rule
            about = self.because.rule(name, seen) if name else ()
            expected = f"by {asked}" if isinstance(asked, str) else "by some rule" if asked else "none"
            yield _wrong(expectation, seen, what, expected, f"by {rule}" if rule else "none", about)
        asked_for = -1 if expectation.hold_back is False else expectation.hold_back
        held = seen.plan.hold_back
        if asked_for is not None and asked_for != held:
            yield _wrong(expectation, seen, "hold_back", _tokens(asked_for), _tokens(held), ())


def _wrong(
    expectation: Expectation, seen: Seen, what: str, expected: str, got: str, because: Iterable[str]
) -> Mismatch:
    return Mismatch(expectation.line, seen.step, seen.step, what, expected, got, tuple(because))


def _tokens(count: int) -> str:
    return "none" if count < 0 else f"{count} tokens"
