"""What ``generate`` returns where rows have come to something else than the loop's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guardsteer.runtime.course import Course, Final
from guardsteer.runtime.steps import Step

__all__ = ["compose"]


def compose(course: Course, output: Any, prompts: Tensor, pad: int) -> tuple[Any, list[Final]]:
    """Return the result of a call and what each row came to.

    ``prompts: [row, column]``. The result is ``output`` itself where no row went back and nothing was
    withheld. Else rows are padded on the right with ``pad``, scores and logits are those that chose the
    tokens that stay, and there is no cache: it holds what is gone.
    """
    generation = course.generation
    sequences: Tensor = output if isinstance(output, Tensor) else output.sequences
    columns = sequences.shape[1]
    texts: list[list[int]] = []
    for place, row in enumerate(generation.rows):
        own = course.written(place, columns)
        first = generation.width + row.dropped
        ids: list[int] = sequences[place, first : first + own].tolist()
        if own:
            course.finish(place, ids[-1], columns)
        texts.append(ids)
    finals = [course.final(place, ids) for place, ids in enumerate(texts)]
    changed = [
        row.dropped > 0 or final.tokens != ids
        for row, final, ids in zip(generation.rows, finals, texts, strict=True)
    ]
    if not any(changed):
        return output, finals
    longest = max(len(final.tokens) for final in finals)
    whole = torch.full((len(finals), generation.width + longest), pad, dtype=sequences.dtype)
    for place, final in enumerate(finals):
        whole[place, generation.width : generation.width + len(final.tokens)] = torch.tensor(final.tokens)
    whole = whole.to(sequences.device)
    whole[:, : generation.width] = prompts.to(whole)
    if isinstance(output, Tensor):
        return whole, finals
    fields = dict(output.items())
    fields.update(sequences=whole, past_key_values=None)
    passes = [_passes(row.step, longest) for row in generation.rows]
    for name in ("scores", "logits"):
        if fields.get(name) is not None:
            fields[name] = _chosen(fields[name], passes, longest)
    return type(output)(**fields), finals


def _passes(newest: Step, longest: int) -> list[int]:
    """Return the step whose pass chose each token that stays; behind them, the steps that follow."""
    chosen: dict[int, int] = {}
    step: Step | None = newest
    while step is not None:
        chosen.setdefault(step.written, step.index)
        step = step.parent
    ahead = newest.index - newest.written
    return [chosen.get(token, token + ahead) for token in range(longest)]


def _chosen(steps: Sequence[Tensor], passes: Sequence[Sequence[int]], longest: int) -> tuple[Tensor, ...]:
    """Return scores, one ``[row, token]`` for each of ``longest`` tokens, from those of all passes."""
    last = len(steps) - 1
    return tuple(
        torch.stack([steps[min(row[token], last)][place] for place, row in enumerate(passes)])
        for token in range(longest)
    )
