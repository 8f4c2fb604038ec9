"""A vector on one page: its card, its blocks, and what was measured of it where that lies beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType

from guardsteer.lab.reports.calibration import calibration_parts
from guardsteer.lab.reports.where import sweep_parts, trace_parts
from guardsteer.pages.charts import Dot, Line, chart
from guardsteer.pages.figures import Data
from guardsteer.pages.page import card, page, plots, table
from guardsteer.steer import Vector, make_vector

__all__ = ["found_beside", "vector_page"]

_LARGEST_BYTES = 1 << 27
_PARTS: MappingProxyType[str, tuple[str, Callable[[Data], list[str]]]] = MappingProxyType(
    {
        "sweep": ("Where to steer", sweep_parts),
        "trace": ("What carries the trait", trace_parts),
        "calibration": ("How strongly, for how long", calibration_parts),
    }
)


def vector_page(vector: Vector, card_lines: Sequence[tuple[str, str]], folder: Path) -> str:
    """Return the report of ``vector``: ``card_lines``, its blocks, and what ``folder`` holds of it.

    That is ``sweep.json``, ``trace.json`` and ``calibration.json`` as the lab writes them; other files of
    these names are left out, and what was measured of another vector is said to be so.
    """
    rows = {row.block: row for row in vector.card.separation}
    blocks = list(zip(vector.blocks, map(float, vector.residual_norms), strict=True))
    heads = ["block", "residual norm", "Cohen d", "cosine of two halves"]
    shown = [
        [
            str(block),
            f"{norm:.3f}",
            *(
                "" if found is None else f"{found:.2f}"
                for found in (
                    (rows[block].cohens_d, rows[block].split_half_cosine) if block in rows else (None, None)
                )
            ),
        ]
        for block, norm in blocks
    ]
    body = [card(card_lines), "<h2>Blocks</h2>", plots(_by_block(vector, blocks))]
    body.append(table(heads, shown))
    beside = found_beside(folder)
    for name, data in beside.items():
        heading, parts = _PARTS[name]
        body.append(f"<hr><h1>{heading}</h1>")
        if not _is_of(vector, name, data):
            told = f"{name}.json was measured with another vector, or before this one's card was changed."
            body.append(f'<div class="verdict no"><p>{escape(told)}</p></div>')
        body += parts(data)
    if not beside:
        told = "Nothing measured lies beside this vector: see vectors sweep, trace and calibrate."
        body.append(f'<p class="note">{told}</p>')
    return page(f"Vector {vector.name}", body)


def found_beside(folder: Path) -> dict[str, Data]:
    """Return what the lab measured, by kind, as far as ``folder`` holds it in a form known here."""
    found: dict[str, Data] = {}
    for name in _PARTS:
        path = folder / f"{name}.json"
        try:
            data = json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST_BYTES else None
        except (OSError, ValueError):
            continue
        if isinstance(data, dict) and data.get("format") == f"guardsteer.{name}/1":
            found[name] = data
    return found


def _is_of(vector: Vector, name: str, data: Data) -> bool:
    # A window on the card changes the digest, and is what a calibration leads to.
    bare = make_vector(
        vector.card.model_copy(update={"recommended": None}),
        directions=vector.directions,
        residual_norms=vector.residual_norms,
    )
    digests = {vector.digest, bare.digest}
    if name == "calibration":
        return data.get("vector_digest") in digests
    return name == "trace" or bool(digests & set((data.get("vectors") or {}).values()))


def _by_block(vector: Vector, blocks: Sequence[tuple[int, float]]) -> list[str]:
    apart = [Dot(row.block, row.cohens_d) for row in vector.card.separation if row.cohens_d is not None]
    charts = []
    if apart:
        line = [Line("Cohen d", tuple(apart))]
        on = vector.card.separation[0].measured_on
        title = f"Separation by block, {on} pairs"
        charts.append(chart(line, title=title, x_label="block", y_label="Cohen d"))
    norms = [Line("norm", tuple(Dot(block, norm) for block, norm in blocks))]
    charts.append(chart(norms, title="Residual norm by block", x_label="block", y_label="norm"))
    return charts
