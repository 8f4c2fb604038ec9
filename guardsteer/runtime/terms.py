"""On what terms a policy takes a request: mode, arm, and the strengths that the request chose itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guardsteer.core.policy import Mode, OverrideSpec, Policy
from guardsteer.errors import RequestError
from guardsteer.rules.rollout import mode_of

__all__ = ["Terms", "terms_of"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy's binding and overrides make of one request.

    ``chosen`` maps a vector to the strength that the request asked for and the one that it got.
    """

    mode: Mode = "enforce"
    arm: str = ""
    chosen: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def strengths(self) -> dict[str, float]:
        """The chosen strengths as they hold."""
        return {vector: given for vector, (_, given) in self.chosen.items()}


def terms_of(policy: Policy, request: str, context: Mapping[str, Any], wishes: Mapping[str, float]) -> Terms:
    """Return the terms of a request: its id, its keys, and the strengths that it wishes for by vector.

    Raises ``RequestError`` with every wish that the policy does not grant.
    """
    mode, arm = mode_of(policy.binding, request, context)
    if not wishes:
        return Terms(mode, arm)
    chosen: dict[str, tuple[float, float]] = {}
    problems: list[str] = []
    for vector, wish in wishes.items():
        spec = _bounds_of(policy, vector, context.get("tenant"))
        if spec is None:
            problems.append(_not_open(policy, vector, context.get("tenant")))
        elif isinstance(wish, bool) or not isinstance(wish, int | float) or not math.isfinite(wish):
            problems.append(f"['strengths'][{vector!r}]: got {wish!r}, expected a number")
        elif not spec.low <= wish <= spec.high and spec.outside == "refuse":
            problems.append(
                f"['strengths'][{vector!r}]: got {wish:g}, expected {spec.low:g} to {spec.high:g}, which the "
                "policy's overrides allow"
            )
        else:
            chosen[vector] = float(wish), float(min(max(wish, spec.low), spec.high))
    if problems:
        raise RequestError("\n".join(problems))
    return Terms(mode, arm, chosen)


def _bounds_of(policy: Policy, vector: str, tenant: Any) -> OverrideSpec | None:
    """Return the bounds that are the tenant's own, else those for any request."""
    found = [spec for spec in policy.overrides if spec.vector == vector]
    own = [spec for spec in found if spec.tenants is not None and tenant in spec.tenants]
    return next(iter([*own, *(spec for spec in found if spec.tenants is None)]), None)


def _not_open(policy: Policy, vector: Any, tenant: Any) -> str:
    open_ones = sorted({spec.vector for spec in policy.overrides if _bounds_of(policy, spec.vector, tenant)})
    instead = f"it leaves open {', '.join(open_ones)}" if open_ones else "it leaves none open"
    whose = f"the tenant {tenant!r}" if tenant is not None else "a request without a tenant"
    return f"['strengths'][{vector!r}]: the policy does not leave this strength to {whose}; {instead}"
