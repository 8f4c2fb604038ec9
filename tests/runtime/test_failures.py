"""Each cell of the tables in docs/failures.md, with the fault injected; the page holds what is tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import guardsteer
from tests.runtime.failures.audit import AUDIT
from tests.runtime.failures.classifiers import CLASSIFIERS
from tests.runtime.failures.lines import CHOICES, Line
from tests.runtime.failures.others import OTHERS
from tests.runtime.failures.rules import RULES

TABLES = {
    "A classifier": CLASSIFIERS,
    "An undecided rule": RULES,
    "The audit": AUDIT,
    "Everything else": OTHERS,
}
CELLS = [
    pytest.param(row, choice, id=f"{row.name}: {choice}")
    for rows in TABLES.values()
    for row in rows
    for choice in row.cells
]


@pytest.mark.parametrize(("row", "choice"), CELLS)
def test_the_choice_does_what_the_table_says(
    row: Line, choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row.check(row, choice, tmp_path, monkeypatch)


def lines(title: str, rows: Sequence[Line]) -> list[str]:
    """Return a table of the page, line by line."""
    choices = list(rows[0].cells)
    heads = [f"`{choice}`" if choice in CHOICES else choice for choice in choices]
    return [
        f"| {title} | {' | '.join(heads)} |",
        "|---" * (len(choices) + 1) + "|",
        *(f"| {row.name} | {' | '.join(row.cells[choice] for choice in choices)} |" for row in rows),
    ]


def test_the_page_holds_the_table_that_is_tested() -> None:
    page = (Path(guardsteer.__file__).parents[1] / "docs" / "failures.md").read_text()
    for title, rows in TABLES.items():
        expected = "\n".join(lines(title, rows))
        assert expected in page, f"docs/failures.md should hold:\n\n{expected}\n"
    assert page.count("\n|---|") == len(TABLES), "no table is on the page that is not tested"
