"""Take columns of a row out of a forward pass: masked like padding, positions closed over them.

A cache stays as it is. What it holds of a column that no query may attend to has no effect, wherever
attention looks at columns through the mask alone and positions come from the position ids or the mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guardsteer.errors import UnsupportedError
from guardsteer.host.blocks import Layout
from guardsteer.host.selftest import spread_ids

__all__ = ["Gap", "check_retraction", "put_gaps", "windows_of"]


@dataclass(frozen=True, slots=True)
class Gap:
    """What is out of one row: ``spans`` of columns, ``(first, end)``.

    ``shift``: by how much the positions of the columns behind are less than they would be.
    """

    row: int
    spans: tuple[tuple[int, int], ...]
    shift: int


def put_gaps(kwargs: dict[str, Any], gaps: Sequence[Gap], ids: Tensor, columns: int) -> None:
    """Change a forward's keyword arguments so that ``gaps`` have no effect on the columns behind them.

    ``ids: [row, column]`` are the pass's new ones, ``columns`` counts all. A mask may be missing, ``[row,
    column]``, four-dimensional (boolean, or added to the scores), or a mapping of such. No tensor is changed
    in place, and other rows keep theirs. Raises ``UnsupportedError`` for any other mask.
    """
    rows = ids.shape[0]
    mask = kwargs.get("attention_mask")
    if mask is None:
        mask = torch.ones(rows, columns, dtype=torch.long, device=ids.device)
    if isinstance(mask, dict):
        kwargs["attention_mask"] = {name: _masked(one, gaps, rows, columns) for name, one in mask.items()}
    else:
        kwargs["attention_mask"] = _masked(mask, gaps, rows, columns)
    positions = kwargs.get("position_ids")
    if positions is not None:
        kwargs["position_ids"] = _shifted(positions, gaps, rows)


def _masked(mask: Any, gaps: Sequence[Gap], rows: int, columns: int) -> Tensor:
    fits = isinstance(mask, Tensor) and (
        (mask.dim() == 2 and tuple(mask.shape) == (rows, columns))
        or (mask.dim() == 4 and mask.shape[0] in (1, rows) and mask.shape[-1] >= columns)
    )
    if not fits:
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise UnsupportedError(
            f"an attention mask of {got} for {rows} rows and {columns} columns, expected [row, column] or "
            "[row, head, query, column]: text cannot be taken back under it. Use attn_implementation "
            "'sdpa' or 'eager', or a policy without revise"
        )
    mask = mask.expand(rows, *mask.shape[1:]).clone()
    out = torch.finfo(mask.dtype).min if mask.is_floating_point() else 0
    for gap in gaps:
        for first, end in gap.spans:
            mask[gap.row, ..., first:end] = out
    closed: Tensor = mask
    return closed


def _shifted(positions: Tensor, gaps: Sequence[Gap], rows: int) -> Tensor:
    """Return positions ``[..., row, column]`` with those of gapped rows moved down."""
    shape = (*positions.shape[:-2], rows, positions.shape[-1])
    positions = positions.expand(shape).clone()
    for gap in gaps:
        # Padding before a row may have any position, as long as there is one.
        positions[..., gap.row, :] = (positions[..., gap.row, :] - gap.shift).clamp(min=0)
    return positions


def windows_of(model: Any) -> dict[str, int]:
    """Return the windows and chunks, in columns, to which some attention of the model is limited."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    if kinds is not None and all(kind in ("full_attention", "global") for kind in kinds):
        return {}
    return {
        name: value
        for name, value in vars(config).items()
        if name.endswith(("window", "window_size", "attention_chunk_size"))
        and isinstance(value, int)
        and not isinstance(value, bool)
        and value > 0
    }


_PROMPT = 5
# With fewer, positions that count columns would hardly show.
_DROPPED = 16
_EXACT = 1e-3
_HALF_EXACT = 5e-2


def check_retraction(model: Any, layout: Layout) -> None:
    """Return if text can be taken back from a row of ``model`` exactly, as ``put_gaps`` does it.

    Decodes a token and 16 more after a prompt of five, takes all these back from one of two rows, and
    decodes the first again: its logits must be those that it had right behind the prompt, and the other
    row's those that it has anyway. Some sixty passes of a token. Raises ``UnsupportedError`` where they are
    not, as with linear attention, convolutions, short windows, or positions that count columns.
    """
    ids = spread_ids(model, layout, 2, _PROMPT + 1 + _DROPPED)
    prompt, kept, tail = ids[:, :_PROMPT], ids[:, _PROMPT : _PROMPT + 1], ids[:, _PROMPT + 1 :]
    both = torch.cat([prompt, kept, tail, kept], dim=1)
    span = (_PROMPT, _PROMPT + 1 + _DROPPED)
    gap = Gap(0, (span,), _DROPPED + 1)
    wanted = _decoded(model, torch.cat([prompt, kept], dim=1), [])
    untouched = _decoded(model, both, [])
    found = _decoded(model, both, [gap])
    share = _EXACT if found.dtype in (torch.float32, torch.float64) else _HALF_EXACT
    off = _distance(found[0], wanted[0]) / max(_distance(untouched[0], wanted[0]), 1e-9)
    beside = _distance(found[1], untouched[1]) / max(_distance(untouched[0], wanted[0]), 1e-9)
    if not (off <= share and beside <= share):
        raise UnsupportedError(
            f"{type(model).__name__}: text that was taken back from a row leaves {max(off, beside):.0%} of "
            "its effect in this model, which keeps more of a token than its key-value cache masks (linear "
            "attention, convolution), attends to a short window, or counts columns as positions. Use a "
            "policy without revise"
        )


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().nan_to_num(nan=float("inf")).max())


def _decoded(model: Any, ids: Tensor, gaps: Sequence[Gap]) -> Tensor:
    """Return the logits of the last token, ``[row, token]``; each behind the prompt has a pass of its own."""
    positioned = "position_ids" in inspect.signature(model.forward).parameters
    rows, columns = ids.shape
    cache: Any = None
    logits = ids.new_empty(0)
    with torch.no_grad():
        for first, end in [(0, _PROMPT), *((column, column + 1) for column in range(_PROMPT, columns))]:
            new = ids[:, first:end]
            kwargs: dict[str, Any] = {"attention_mask": torch.ones_like(ids[:, :end])}
            if positioned:
                kwargs["position_ids"] = torch.arange(first, end, device=ids.device).expand(rows, -1)
            if gaps and end == columns:
                put_gaps(kwargs, gaps, new, end)
            output = model(input_ids=new, past_key_values=cache, use_cache=True, **kwargs)
            cache = getattr(output, "past_key_values", None)
            if cache is None:
                raise UnsupportedError(
                    f"{type(model).__name__} keeps no key-value cache, so text cannot be taken back from it. "
                    "Use a policy without revise"
                )
            logits = output.logits[:, -1]
    return logits
