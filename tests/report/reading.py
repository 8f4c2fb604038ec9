"""A page as a reader without sight, mouse or colours has it: headings, tables, figures, what marks say."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

__all__ = ["Mark", "Page", "Table", "read_page"]

_VOID = {"meta", "br", "hr", "img", "link", "input"}
_LOADS = {"src", "href", "srcset", "action", "data", "poster", "background", "onload", "onerror", "onclick"}


@dataclass
class Table:
    """A table: its caption, heads and rows of plain text."""

    caption: str = ""
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def column(self, head: str) -> list[str]:
        """Return a column by its head."""
        place = self.heads.index(head)
        return [row[place] for row in self.rows]


@dataclass
class Mark:
    """An element that is named: its classes, what it says, its place in CSS, the text inside."""

    classes: tuple[str, ...]
    told: str
    style: str
    stop: bool
    text: str = ""

    def number(self, name: str) -> float:
        """Return a length of its style, in percent."""
        for part in self.style.split(";"):
            key, _, value = part.partition(":")
            if key == name:
                return float(value.removesuffix("%"))
        raise KeyError(name)


class Page(HTMLParser):
    """Reads a page; raises ``AssertionError`` for one that is not whole or that names anything to load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.headings: list[tuple[int, str]] = []
        self.tables: list[Table] = []
        self.figures: list[tuple[str, int]] = []
        self.marks: list[Mark] = []
        self.tokens: list[Mark] = []
        self.runs: list[Mark] = []
        self.tracks: list[str] = []
        self.names: list[str] = []
        self.ids: list[str] = []
        self.policy = ""
        self.text = ""
        self._open: list[str] = []
        self._kinds: list[Mark | None] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        assert not _LOADS & set(given), (tag, given)
        self.names.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag in _VOID:
            return
        self._open.append(tag)
        self._kinds.append(self._named(tag, given))
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))
        if tag == "table":
            self.tables.append(Table())
        if tag == "tr" and "tbody" in self._open:
            self.tables[-1].rows.append([])
        if tag == "th":
            self.tables[-1].heads.append("")
        if tag == "td":
            self.tables[-1].rows[-1].append("")
        if tag == "figure":
            self.figures.append((given.get("aria-label", ""), len(self.tables)))

    def _named(self, tag: str, given: dict[str, str]) -> Mark | None:
        classes = tuple(given.get("class", "").split())
        told = given.get("aria-label", given.get("data-t", ""))
        mark = Mark(classes, told, given.get("style", ""), "tabindex" in given)
        if tag == "b" and "m" in classes:
            assert given.get("role") == "img"
            self.marks.append(mark)
        elif "t" in classes and "has" in classes:
            self.tokens.append(mark)
        elif "run" in classes:
            self.runs.append(mark)
        elif "track" in classes and "role" in given:
            self.tracks.append(told)
        return mark

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag
        self._kinds.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        for mark in self._kinds:
            if mark is not None:
                mark.text += data
        if self._open and self._open[-1] in ("h1", "h2", "h3", "h4"):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)
        if "caption" in self._open:
            self.tables[-1].caption += data
        if "th" in self._open:
            self.tables[-1].heads[-1] += data
        if "td" in self._open:
            self.tables[-1].rows[-1][-1] += data

    def table(self, caption: str) -> Table:
        """Return the one table whose caption begins so."""
        found = [table for table in self.tables if table.caption.startswith(caption)]
        assert len(found) == 1, [table.caption for table in self.tables]
        return found[0]


def read_page(text: str) -> Page:
    """Return a page, having checked all that every page must be.

    It is whole, loads nothing and runs nothing; headings go down one level at a time; every table has a
    caption and every figure a name and a table within reach; every mark says what it is.
    """
    page = Page(text)
    assert page.policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert not {"script", "img", "iframe", "link", "object", "embed", "form", "base"} & set(page.names)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "<" not in style.removeprefix("<style>")
    assert len(page.ids) == len(set(page.ids))
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(heading.strip() for _, heading in page.headings)
    assert all(table.caption.strip() and table.heads and table.rows for table in page.tables)
    assert all(len(row) == len(table.heads) for table in page.tables for row in table.rows)
    assert all(name.strip() for name, _ in page.figures)
    assert all(mark.told.strip() for mark in (*page.marks, *page.tokens, *page.runs))
    assert all(page.tracks)
    return page
