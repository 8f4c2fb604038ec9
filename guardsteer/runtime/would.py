"""What rules in shadow would have done to a row as a whole: end it, or take text back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guardsteer.core.events import RowHalted, RowRevised
from guardsteer.core.policy import ReviseSpec
from guardsteer.runtime.acting import LedgerKit
from guardsteer.runtime.steps import Step

__all__ = ["Would"]


class Would:
    """Tells each end and each revision when its rule comes to ask for it, since the row goes on after it.

    ``who`` are the fields that all events of the row share; ``prompt`` is the length of its prompt.
    """

    __slots__ = ("_counts", "_halt", "_kit", "_prompt", "_revise", "_who")

    def __init__(self, kit: LedgerKit, who: Mapping[str, Any], prompt: int) -> None:
        self._kit = kit
        self._who = who
        self._prompt = prompt
        self._halt = self._revise = -1
        self._counts: dict[int, int] = {}

    def tell(self, step: Step, time_ns: int) -> None:
        """Tell what rules in shadow would have done at ``step`` and not at the one before."""
        plan, shadow = step.plan, step.plan.shadow
        halt = revise = -1
        if shadow is not None:
            halt = shadow.halt
            revise = shadow.revise if shadow.revise != plan.revise else -1
        if halt >= 0 and halt != self._halt:
            self._halted(step, halt, time_ns)
        spec = self._kit.policy.rules[revise].revise if revise >= 0 else None
        if spec is not None and revise != self._revise:
            self._revised(step, revise, spec, time_ns)
        self._halt, self._revise = halt, revise

    def forget(self) -> None:
        """Forget what was told of text that was taken back."""
        self._halt = self._revise = -1

    def _halted(self, step: Step, rule: int, time_ns: int) -> None:
        self._kit.append(
            RowHalted(
                time_ns=time_ns,
                **self._who,
                step=step.index,
                rule=self._kit.rule(rule),
                position=self._prompt + step.written,
                fallback_digest=self._kit.fallback_digest,
                mode="shadow",
            )
        )

    def _revised(self, step: Step, rule: int, spec: ReviseSpec, time_ns: int) -> None:
        count = self._counts[rule] = self._counts.get(rule, 0) + 1
        if count > spec.most:
            if spec.then == "halt":
                self._halted(step, rule, time_ns)
            return
        kept = _sentence_start(step) if spec.tokens is None else max(0, step.written - spec.tokens)
        self._kit.append(
            RowRevised(
                time_ns=time_ns,
                **self._who,
                step=step.index,
                rule=self._kit.rule(rule),
                position=self._prompt + kept,
                dropped=step.written - kept,
                revision=count,
                mode="shadow",
            )
        )


def _sentence_start(step: Step) -> int:
    """Return how many tokens stay when the newest goes, and with it the sentence that it ended or was in."""
    return step.parent.anchor if step.parent is not None else 0
