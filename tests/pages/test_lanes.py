"""Lanes show marks where they belong, name every one, and turn no text into markup."""

from __future__ import annotations

import re

import pytest

from guardsteer.pages.lanes import LANES_STYLE, LOOKS, Lane, Level, Mark, Tick, lanes
from guardsteer.pages.page import page, table, unfold
from tests.report.reading import Page, read_page

TICKS = (Tick(0.0, "0"), Tick(0.5, "5", minor=True), Tick(1.0, "10"))
HOSTILE = '"><script>alert(1)</script>'


def shown(*given: Lane, told: str = "", note: str = "") -> Page:
    body = ["<h2>Part</h2>", lanes("Lanes", given, TICKS, axis="position", note=note, table=told)]
    return read_page(page("Title", body, style=LANES_STYLE))


def test_marks_stand_where_they_belong() -> None:
    found = shown(Lane("a", (Mark(0.25, 0.75, "half", "bar", 0.1, 0.6),), "all of it"))
    (mark,) = found.marks
    assert [mark.number(name) for name in ("left", "width", "bottom", "height")] == [25, 50, 10, 50]
    assert mark.told == "half"
    assert found.tracks == ["all of it"]


def test_what_lies_outside_is_drawn_at_the_edge() -> None:
    (mark,) = shown(Lane("a", (Mark(-0.5, 0.2, "early", "dot", 2.0),), "told")).marks
    assert mark.number("left") == 0
    assert mark.number("bottom") == 100


def test_looks_differ_by_pattern_as_well_as_by_colour_and_come_again() -> None:
    marks = tuple(Mark(0.0, 1.0, str(look), look=look) for look in range(LOOKS + 1))
    classes = [set(mark.classes) for mark in shown(Lane("a", marks, "told")).marks]
    assert len({frozenset(each) for each in classes}) == LOOKS
    assert classes[0] == classes[LOOKS]
    for look in range(1, LOOKS):
        assert re.search(rf"\.p{look}\.bar\{{background-image", LANES_STYLE)


@pytest.mark.parametrize(("count", "stops"), [(40, 40), (41, 0)])
def test_many_marks_are_one_stop_of_the_keyboard(count: int, stops: int) -> None:
    marks = tuple(Mark(place / count, (place + 1) / count, str(place)) for place in range(count))
    assert sum(mark.stop for mark in shown(Lane("a", marks, "told")).marks) == stops


def test_no_text_becomes_markup() -> None:
    lane = Lane(HOSTILE, (Mark(0, 1, HOSTILE, text=HOSTILE),), HOSTILE, HOSTILE, (Level(0.5, HOSTILE),))
    body = lanes(HOSTILE, [lane], (Tick(0.1, HOSTILE),), axis=HOSTILE, note=HOSTILE)
    found = read_page(page(HOSTILE, ["<h2>Part</h2>", body]))
    assert "<script" not in found.source
    assert found.marks[0].told == HOSTILE
    assert found.text.count(HOSTILE) >= 6


def test_without_lanes_there_is_nothing_and_a_table_is_within_reach() -> None:
    assert lanes("none", (), TICKS, axis="x") == ""
    found = shown(Lane("a", (), "told"), told=table(["x"], [["1"]], caption="figures"), note="a note")
    assert found.table("figures").rows == [["1"]]
    assert "a note" in found.text
    assert "Lanes, as a table" in found.text
    assert unfold("<b>", "<i>x</i>") == (
        '<details class="more"><summary>&lt;b&gt;</summary><i>x</i></details>'
    )
