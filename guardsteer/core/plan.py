"""What the rules decide for a row at one step."""

from __future__ import annotations

from dataclasses import dataclass

from guardsteer.core.policy import Operator

__all__ = ["Channel", "Plan"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One way in which a policy uses one of its vectors; a plan has a strength for each channel.

    ``vector`` counts the policy's vectors. ``operator`` is ``add`` for pushes in either direction (the
    strength's sign tells), ``ablate`` or ``clamp``; a clamp's strength is 1.0 while it acts, its bounds are
    ``low`` and ``high`` in units of the block's residual norm.
    """

    vector: int
    operator: Operator = "add"
    low: float | None = None
    high: float | None = None
    keep_norm: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to a row from one step on.

    ``strengths`` holds one number for each channel of the program: 0.0 leaves the row alone, positive
    adds and negative subtracts, for ``ablate`` it is the share that goes. ``rules`` holds, for each
    channel, the index of the rule that decided it (the rule that disabled it too), or -1. ``halt`` is
    the index of the rule that ends the row, ``revise`` of the rule that takes text back, or -1.
    ``hold_back`` is the number of tokens behind a token that must be read before it is released, -1
    for no holding back. ``shadow`` is what the plan would be if every rule in shadow were enforced,
    None where that changes nothing for any row. The engine hands out the *same object* while nothing
    changes, so ``is`` tells whether there is anything to do.
    """

    strengths: tuple[float, ...]
    rules: tuple[int, ...]
    halt: int = -1
    revise: int = -1
    hold_back: int = -1
    shadow: Plan | None = None

    @property
    def idle(self) -> bool:
        """True when this plan changes nothing about the row."""
        return self.halt < 0 and self.revise < 0 and self.hold_back < 0 and not any(self.strengths)
