"""What a push did to the other traits of the library, on a page: changes beside those of random pushes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from guardsteer.pages.figures import Data, figure, is_estimate
from guardsteer.pages.heat import Interval, intervals
from guardsteer.pages.page import plots, table

__all__ = ["traits_part", "unjudged_part"]

_CHANCE = 0.05


def traits_part(data: Data) -> str:
    """Return the table and picture of a calibration's side effects; empty where no trait was read."""
    rows: Sequence[Data] = [each for each in data.get("side_effects", ()) if is_estimate(each.get("change"))]
    if not rows:
        return ""
    heads = ["trait", "change", "random pushes", "reader on held-out pairs", "told"]
    cells = [
        [
            str(row.get("trait", "")),
            figure(row["change"]),
            ", ".join(f"{value:+.3f}" for value in row.get("random_changes", ())),
            _auroc(row),
            _told(row),
        ]
        for row in rows
    ]
    changes = [row["change"] for row in rows]
    drawn = intervals(
        [
            Interval(str(row.get("trait", "")), each["value"], each["low"], each["high"])
            for row, each in zip(rows, changes, strict=True)
        ],
        title="Change of the probability of each other trait",
        x_label="change of the mean probability",
    )
    on = "test" if data.get("held_out") else "tuning"
    expected = _CHANCE * len(rows)
    note = (
        f"Read in the replies to the {on} prompts by linear readers of each recipe's pairs, which know "
        "little beyond the wordings of these: look at the replies before you trust a row. Moved: the whole "
        f"interval is further from zero than any random push. Of {len(rows)} intervals about {expected:.1f} "
        "miss zero by chance."
    )
    return (
        f"<h2>Other traits of the library</h2>{plots([drawn])}"
        f"{table(heads, cells, [bool(row.get('moved')) for row in rows])}"
        f'<p class="note">{escape(note)}</p>'
    )


def unjudged_part(data: Data) -> str:
    """Return what could not be judged, and why; empty where everything could."""
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in data.get("unjudged", ()))
    return f"<h2>Not judged</h2><ul>{notes}</ul>" if notes else ""


def _auroc(row: Data) -> str:
    value = row.get("reader_auroc")
    return f"AUROC {value:.2f}" if isinstance(value, int | float) else "not measured"


def _told(row: Data) -> str:
    if row.get("moved"):
        return "moved"
    return "reader too weak to go by" if row.get("reader_reliable") is False else "no more than random"
