"""A policy's cases, run and judged: what passed, what failed and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from guardsteer.assets import Catalog, resolve
from guardsteer.cases.judging import Mismatch, judge
from guardsteer.cases.model import Case, CaseFile
from guardsteer.cases.replay import Classifiers, HiddenReader, Seen, replay
from guardsteer.classify.combined.signal_blend import SignalBlend, blends_of
from guardsteer.core.policy import ENFORCED, Policy
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import RequestError
from guardsteer.rules import compile_policy
from guardsteer.rules.program import Program

__all__ = ["ProbeOutputs", "Report", "Result", "read_classifiers", "run_cases"]


@dataclass(frozen=True, slots=True)
class ProbeOutputs:
    """A probe of which no more is known than its card says: a case scripts its scores."""

    outputs: tuple[str, ...]
    block: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case: ``steps`` were decided; ``error``: why it could not be run to its end."""

    name: str
    line: int
    steps: int
    mismatches: tuple[Mismatch, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        """True where all was as expected."""
        return not self.mismatches and not self.error


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a policy's cases."""

    policy: str
    digest: str
    file: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """True where every case passed, and there is one."""
        return bool(self.results) and all(result.ok for result in self.results)

    @property
    def failed(self) -> tuple[Result, ...]:
        """The cases that did not pass."""
        return tuple(result for result in self.results if not result.ok)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        cases = [{"ok": result.ok, **asdict(result)} for result in self.results]
        return {
            "ok": self.ok,
            "policy": self.policy,
            "digest": self.digest,
            "file": self.file,
            "passed": len(self.results) - len(self.failed),
            "failed": len(self.failed),
            "cases": cases,
        }

    def __str__(self) -> str:
        """Return the failed cases, each with its differences, and a line that sums up."""
        lines = [line for result in self.failed for line in _told(self.file, result)]
        if not self.results:
            return f"{self.file or self.policy}: no cases; a policy without tests is not tested"
        passed = len(self.results) - len(self.failed)
        summary = f"{self.file}: {passed} of {len(self.results)} cases of policy {self.policy} passed"
        return "\n".join([*lines, summary])


def _told(file: str, result: Result) -> list[str]:
    lines = [f"{file}:{result.line}: FAILED {result.name}"]
    if result.error:
        lines.append(f"  {result.error}")
    for mismatch in result.mismatches:
        steps = f"step {mismatch.first}"
        if mismatch.last != mismatch.first:
            steps = f"steps {mismatch.first} to {mismatch.last}"
        lines.append(f"  {steps}, {mismatch.what} (line {mismatch.line})")
        lines.append(f"    - expected {mismatch.expected}")
        lines.append(f"    + got      {mismatch.got}")
        lines += [f"      {why}" for why in mismatch.because]
    return lines


def read_classifiers(
    policy: Policy, catalog: Catalog
) -> dict[str, TextClassifier | HiddenReader | SignalBlend]:
    """Return the classifiers of a policy that was read from a file; of probes, their card alone.

    Raises ``ClassifierError`` where one is damaged, ``AssetError`` where there is none.
    """
    from guardsteer.classify import load_classifier
    from guardsteer.classify.files.card import ProbeCard, read_card

    base = Path(policy.source).parent
    found: dict[str, TextClassifier | HiddenReader | SignalBlend] = {}
    for spec in policy.classifiers:
        if spec.combine is not None:
            continue
        if spec.use is not None:
            path = resolve("classifiers", spec.use, base, catalog)
            card = read_card(path if path.is_dir() else path.parent)
            if isinstance(card, ProbeCard):
                found[spec.name] = ProbeOutputs(tuple(card.outputs), card.block)
                continue
        loaded = load_classifier(spec, base, catalog)
        if not hasattr(loaded, "start"):
            raise TypeError(f"{type(loaded).__name__} reads no text")
        found[spec.name] = loaded
    digests = {name: str(getattr(each, "digest", "")) for name, each in found.items()}
    return {**found, **blends_of(policy, digests)}


def run_cases(
    policy: Policy,
    cases: CaseFile,
    classifiers: Classifiers,
    *,
    alpha_to_strength: Mapping[str, float] | None = None,
) -> Report:
    """Run ``cases`` over ``policy`` and return what came of them; none at all is a failure.

    ``classifiers`` by the policy's names; those that read no text (probes) are scripted by the cases. The
    policy is tried as if it were enforced, whatever its binding says: how far it applies is not its
    meaning. ``alpha_to_strength`` (a vector's strength per unit of alpha) is known where the model is;
    otherwise the cases' ``residual_norms`` give it. Raises ``PolicyError`` where the policy does not
    compile.
    """
    scales = {name: 1.0 / norm for name, norm in cases.residual_norms.items()} | dict(alpha_to_strength or {})
    bare = replace(policy, binding=ENFORCED)
    blends = {name: found for name, found in classifiers.items() if isinstance(found, SignalBlend)}
    probes = {
        name: found.block
        for name, found in classifiers.items()
        if not isinstance(found, SignalBlend) and not hasattr(found, "start")
    }
    waiting = {name: block for name, each in blends.items() if (block := each.block(probes)) is not None}
    program = compile_policy(
        bare,
        {name: tuple(found.outputs) for name, found in classifiers.items()},
        probes={**probes, **waiting},
        alpha_to_strength=scales,
    )
    results = tuple(_run(bare, program, case, classifiers) for case in cases.cases)
    return Report(policy.name, policy.digest, cases.file, results)


def _run(policy: Policy, program: Program, case: Case, classifiers: Classifiers) -> Result:
    seen: list[Seen] = []
    try:
        seen.extend(replay(policy, program, case, classifiers))
    except RequestError as error:
        return Result(case.name, case.line, 0, error=str(error))
    # A classifier may raise anything. That fails this case; the others are still to be told of.
    except Exception as error:
        return Result(case.name, case.line, len(seen), error=f"{type(error).__name__}: {error}")
    return Result(case.name, case.line, len(seen), tuple(judge(policy, program, case, seen)))
