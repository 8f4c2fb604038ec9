"""A binding in a file of its own: how far a policy applies, changed without touching the policy."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from guardsteer.core.policy import Binding, Policy
from guardsteer.errors import PolicyError
from guardsteer.rules.binding_checks import check_binding
from guardsteer.rules.binding_schema import BindingModel
from guardsteer.rules.building import build_binding
from guardsteer.rules.document import MappingNode, compose, describe, plain
from guardsteer.rules.explain import explain_schema_errors
from guardsteer.rules.places import Report
from guardsteer.rules.reading import decode, read_bytes
from guardsteer.rules.routing import base_of

__all__ = ["load_binding", "parse_binding"]


def load_binding(path: str | Path, policy: Policy) -> Binding:
    """Return the checked binding of ``policy`` in the YAML file ``path``.

    The file has the keys that ``binding:`` has in a policy, and stands in its place. Raises
    ``PolicyError`` with every mistake in the file.
    """
    data = read_bytes(Path(path), "give a YAML file with the keys of 'binding'")
    return _parse(data, str(path), policy)


def parse_binding(text: str, file: str, policy: Policy) -> Binding:
    """Return the checked binding in ``text``; ``file`` names it in messages. As ``load_binding``."""
    return _parse(text.encode("utf-8", "surrogatepass"), file, policy)


def _parse(data: bytes, file: str, policy: Policy) -> Binding:
    report = Report(file, decode(data, file))
    root = compose(report)
    model = None
    if isinstance(root, MappingNode):
        try:
            model = BindingModel.model_validate(plain(root))
        except ValidationError as error:
            explain_schema_errors(report, root, error, BindingModel)
        rules = {base_of(rule.id) for rule in policy.rules}
        check_binding(report, root, rules, dict(policy.context))
    elif not report:
        got = describe(root) if root is not None else "an empty file"
        report.add(0, f"a binding is a mapping, got {got}", "it begins with 'mode: shadow' or 'rollout: …'")
    if report or model is None:
        raise PolicyError(report.problems())
    return build_binding(model, [rule.id for rule in policy.rules])
