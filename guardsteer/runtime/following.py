"""What a call of ``generate`` needs more under a policy that takes text back or holds it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guardsteer.errors import UnsupportedError
from guardsteer.runtime.course import Course, Final
from guardsteer.runtime.ending import Ending, limit_of, most_columns, raise_limit, stop_strings_of
from guardsteer.runtime.finale import compose
from guardsteer.runtime.generation import Generation
from guardsteer.runtime.holding import Holding
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.revising import Rewriter, check_holding, check_revising
from guardsteer.runtime.row import Row

__all__ = ["Following", "follow"]


@dataclass(frozen=True, slots=True)
class Following:
    """What was found out before a call: ``limit`` tokens for a row, in at most ``columns`` columns."""

    kit: Kit
    config: Any
    eos: frozenset[int]
    pad: int
    limit: int
    columns: int

    def begin(self, generation: Generation, kwargs: dict[str, Any]) -> None:
        """Change the call's arguments so that rows go back, end and stream as they should."""
        kit = self.kit
        end = (min(self.eos),) if self.eos else ()
        generation.course = course = Course(
            generation,
            limit=self.limit,
            eos=self.eos,
            fallback=(*kit.fallback, *end),
            reads=kit.holds,
        )
        stop = stop_strings_of(self.config, kwargs)
        kwargs["stopping_criteria"] = [Ending(course, kwargs.get("stopping_criteria") or (), stop)]
        if kit.revises:
            kwargs["logits_processor"] = [*(kwargs.get("logits_processor") or ()), Rewriter(course)]
            raise_limit(kwargs, self.columns)
        if kwargs.get("streamer") is not None:
            kwargs["streamer"] = Holding(kwargs["streamer"], course, self.pad)

    def end(self, generation: Generation, output: Any, prompts: Tensor) -> tuple[Any, list[Final] | None]:
        """Return the call's result and what its rows came to; ``prompts: [row, column]``."""
        if generation.course is None:
            return output, None
        expansion = len(generation.rows) // prompts.shape[0]
        return compose(generation.course, output, prompts.repeat_interleave(expansion, dim=0), self.pad)


def follow(
    kit: Kit,
    model: Any,
    kwargs: dict[str, Any],
    config: Any,
    *,
    rows: Sequence[Row],
    width: int,
    eos: frozenset[int],
    pad: int | None,
) -> Following | None:
    """Return what a call needs, None where it needs nothing.

    Raises ``UnsupportedError`` where the policy cannot act exactly under the call's settings.
    """
    limit = limit_of(model, config, kwargs, width)
    if not (kit.revises or kit.holds) or limit < 1 or not any(row.acts for row in rows):
        return None
    if kit.holds:
        check_holding(config, kwargs)
    columns = limit
    if kit.revises:
        columns += most_columns(kit.rows.revising, limit)
        check_revising(model, config, kwargs, width + columns)
    first = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    filler = pad if pad is not None else first
    if filler is None and len(rows) > 1:
        raise UnsupportedError(
            "the policy may make rows of a batch differ in length, and there is neither a pad_token_id nor "
            "an eos_token_id to fill them up with; pass pad_token_id"
        )
    return Following(kit, config, eos, int(filler or 0), limit, columns)
