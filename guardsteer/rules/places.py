"""Where in a file something is written: from character indices to lines, columns and problems."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice

from guardsteer.errors import Problem

__all__ = ["MAX_PROBLEMS", "Report", "clipped", "closest", "index_within", "listed", "shown"]

MAX_PROBLEMS = 200
_LONGEST_SOURCE_LINE = 200
_LONGEST_SHOWN = 40
_MOST_COMPARED = 300
_ESCAPE_LENGTHS = {"x": 2, "u": 4, "U": 8}
_BLANK_ESCAPES = frozenset("ntrvf _NLP\t")


def clipped(text: str) -> str:
    """Return ``text`` on one line and shortened, for use in a message."""
    short = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in short)


def shown(text: str) -> str:
    """Return ``text`` in quotes, on one line and shortened, for use in a message."""
    return f"'{clipped(text)}'"


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Return names as ``a, b, c``, the rest counted."""
    text = ", ".join(map(clipped, names[:limit]))
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def closest(word: str, names: Iterable[str], what: str) -> str:
    """Return a hint for an unknown ``word``: the nearest known name, else what there is."""
    known = list(islice(names, _MOST_COMPARED))
    near = get_close_matches(word[:64], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {shown(near[0])}?"
    return f"{what}: {listed(known)}" if known else f"there are no {what}"


class Report:
    """The problems found in one text, each at a character index of that text."""

    __slots__ = ("_line_starts", "_problems", "file", "text")

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._line_starts = [0]
        self._line_starts.extend(i + 1 for i, c in enumerate(text) if c == "\n")
        self._problems: dict[tuple[int, str], Problem] = {}

    def place(self, index: int) -> tuple[int, int]:
        """Return line and column of a character, both from 1."""
        index = min(max(index, 0), len(self.text))
        line = bisect_right(self._line_starts, index)
        return line, index - self._line_starts[line - 1] + 1

    @property
    def full(self) -> bool:
        """True once there are more problems than are listed; looking for others is of no use."""
        return len(self._problems) > MAX_PROBLEMS

    def add(self, index: int, message: str, hint: str = "") -> None:
        """Note a problem at a character; the same message at the same place counts once."""
        line, column = self.place(index)
        start = self._line_starts[line - 1]
        source = self.text[start : start + _LONGEST_SOURCE_LINE + 1].partition("\n")[0].rstrip("\r")
        if len(source) > _LONGEST_SOURCE_LINE:
            source = ""
        problem = Problem(self.file, line, column, message, hint, source)
        self._problems.setdefault((index, message), problem)

    def __bool__(self) -> bool:
        return bool(self._problems)

    def problems(self) -> list[Problem]:
        """Return what was found in the file's order, at most ``MAX_PROBLEMS`` and a word about the rest."""
        found = sorted(self._problems.values(), key=lambda p: (p.line, p.column))
        if self.full:
            last = found[MAX_PROBLEMS - 1]
            message = f"there are more than {MAX_PROBLEMS} problems; these are some of them"
            found = [*found[:MAX_PROBLEMS], Problem(self.file, last.line, last.column, message)]
        return found


def index_within(text: str, start: int, style: str, value: str, offset: int) -> int:
    """Return the index in ``text`` of character ``offset`` of a YAML scalar's ``value``.

    ``start`` is where the scalar begins, ``style`` its quote or block mark. Folding changes blanks
    alone, so the visible characters of value and source correspond one to one and in order.
    """
    wanted = sum(not c.isspace() for c in value[:offset])
    at_end = offset >= len(value.rstrip())
    last = start
    for count, index in enumerate(_visible(text, start, style)):
        if at_end and count == wanted - 1:
            return index + 1
        if not at_end and count == wanted:
            return index
        last = index
    return last


def _visible(text: str, start: int, style: str) -> Iterator[int]:
    """Yield the indices in ``text`` of the scalar's characters that are not blank."""
    if style == "'":
        yield from _visible_quoted(text, start + 1)
        return
    if style == '"':
        yield from _visible_escaped(text, start + 1)
        return
    first = text.find("\n", start) + 1 if style in ("|", ">") else start
    for index in range(first, len(text)):
        if not text[index].isspace():
            yield index


def _visible_quoted(text: str, index: int) -> Iterator[int]:
    while index < len(text):
        if not text[index].isspace():
            yield index
        index += 2 if text[index] == "'" else 1


def _visible_escaped(text: str, index: int) -> Iterator[int]:
    while index < len(text):
        character = text[index]
        if character != "\\":
            if not character.isspace():
                yield index
            index += 1
            continue
        kind = text[index + 1 : index + 2]
        length = _ESCAPE_LENGTHS.get(kind, 0)
        if length:
            digits = text[index + 2 : index + 2 + length]
            if not chr(int(digits, 16)).isspace():
                yield index
        elif kind not in _BLANK_ESCAPES and not kind.isspace():
            yield index
        index += 2 + length
