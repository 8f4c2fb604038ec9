"""A policy file to a ``Policy``, or to every mistake in it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import Policy
from guardsteer.errors import PolicyError, Problem
from guardsteer.rules.access import child_of, many_of
from guardsteer.rules.building import build_policy
from guardsteer.rules.checks import OutputsOf, check_meaning
from guardsteer.rules.document import MappingNode, Node, compose, describe, plain
from guardsteer.rules.explain import explain_schema_errors
from guardsteer.rules.places import Report
from guardsteer.rules.reading import MAX_BYTES, decode, read_bytes
from guardsteer.rules.schema import PolicyModel

__all__ = ["MAX_BYTES", "POLICY_FILE", "check", "load_policy", "parse_policy"]

POLICY_FILE = "policy.yaml"


def load_policy(source: str | Path, *, outputs: OutputsOf | None = None) -> Policy:
    """Return the checked policy in the YAML file ``source``, or in ``policy.yaml`` of the folder ``source``.

    ``outputs`` gives a classifier's output names; without it the outputs of classifiers that are
    assets are not checked. The policy's ``source`` is the file, its ``digest`` covers the file's bytes.
    Raises ``PolicyError`` with every mistake in the file.
    """
    path = Path(source)
    path = path / POLICY_FILE if path.is_dir() else path
    return _parse(
        read_bytes(path, f"give a YAML file, or a folder that holds {POLICY_FILE}"), str(path), outputs
    )


def parse_policy(text: str, file: str, *, outputs: OutputsOf | None = None) -> Policy:
    """Return the checked policy in ``text``; ``file`` names it in messages. As ``load_policy`` otherwise."""
    # Surrogates cannot be encoded; let them through here, so that they are reported with their place.
    return _parse(text.encode("utf-8", "surrogatepass"), file, outputs)


def check(path: str | Path, *, outputs: OutputsOf | None = None) -> list[Problem]:
    """Return every mistake in a policy file, none if it can be loaded."""
    try:
        load_policy(path, outputs=outputs)
    except PolicyError as error:
        return list(error.problems)
    return []


def _parse(data: bytes, file: str, outputs: OutputsOf | None) -> Policy:
    report = Report(file, decode(data, file))
    root = compose(report)
    if root is None and not report:
        report.add(0, "the policy is empty", "it begins with 'guardsteer: 1' and 'name: …'")
    model = _validate(report, root) if root is not None else None
    if isinstance(root, MappingNode):
        check_meaning(report, root, outputs)
    if report or model is None or not isinstance(root, MappingNode):
        raise PolicyError(report.problems())
    lines = [report.place(node.start)[0] for node in many_of(child_of(root, "rules"))]
    text = data.decode("utf-8")
    return build_policy(model, lines, digest=digest_bytes(data), source=report.file, text=text)


def _validate(report: Report, root: Node) -> PolicyModel | None:
    if not isinstance(root, MappingNode):
        report.add(
            root.start, f"a policy is a mapping, got {describe(root)}", "it begins with 'guardsteer: 1'"
        )
        return None
    try:
        return PolicyModel.model_validate(plain(root))
    except ValidationError as error:
        explain_schema_errors(report, root, error)
        return None
