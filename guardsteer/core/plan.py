"""What the rules decide for a row at one step."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to a row from one step on.

    ``strengths`` holds one signed number for each vector of the policy, in policy order:
    positive adds, negative subtracts, 0.0 leaves the row alone. ``rules`` holds, for each vector,
    the index of the rule that decided it (the rule that disabled it too), or -1. ``halt`` is the
    index of the rule that ends the row, or -1. The engine hands out the *same object* while
    nothing changes, so ``is`` tells whether there is anything to do.
    """

    strengths: tuple[float, ...]
    rules: tuple[int, ...]
    halt: int = -1

    @property
    def idle(self) -> bool:
        """True when this plan changes nothing about the row."""
        return self.halt < 0 and not any(self.strengths)
