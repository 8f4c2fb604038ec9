"""Reports are whole pages that load nothing, and hold the figures, the window and what a model wrote."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.lab.measure.effects import Bench, Push, random_like
from guardsteer.lab.measure.measuring import Goal
from guardsteer.lab.reports.report import calibration_page, composition_page, page, sweep_page, table
from guardsteer.lab.tuning.calibrate import Place, Search, calibrate
from guardsteer.lab.tuning.composition import compose, cosines
from guardsteer.lab.tuning.sweep import sweep
from guardsteer.pages.charts import Dot, Line, chart
from tests.lab.studies import LOOSE, lettered, letters, parts, study

_VOID = {"meta", "br", "hr", "img"}


class _Checker(HTMLParser):
    """Follows opened and closed tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(text: str) -> _Checker:
    """Return what a page holds, having checked that it is whole, loads nothing and describes its pictures."""
    checker = _Checker()
    checker.feed(text)
    checker.close()
    assert not checker.open
    assert not checker.addresses
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        picture = ElementTree.fromstring(svg)
        if picture.get("aria-hidden") is None:
            title, description = picture[0], picture[1]
            assert picture.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
            assert title.text
            assert description.text
    return checker


def test_the_page_of_a_calibration_shows_window_costs_controls_and_replies() -> None:
    search = Search(places=(Place((3,)),), strengths=(2.0, 4.0), schedules=(None,), controls=2)
    found = calibrate(*parts(), lettered({3: 1.0}), study(), search, LOOSE, new_tokens=8)
    checked = read_page(calibration_page(found))
    assert found.window is not None
    assert "Published:" in checked.text
    assert f"strength {found.window.recommended:g} ({found.window.low:g} to" in checked.text
    assert "random 2" in checked.text
    assert "Perplexity ratio" in checked.text
    assert found.examples[0].prompt in checked.text
    assert all(reason in checked.text for reason in found.verdict.reasons)


def test_the_page_of_a_vector_that_failed_says_why() -> None:
    search = Search(places=(Place((3,)),), strengths=(0.5,), schedules=(None,), controls=1)
    vector = random_like(lettered({3: 1.0}), 3)
    found = calibrate(*parts(), vector, study(), search, LOOSE, new_tokens=8)
    checked = read_page(calibration_page(found))
    assert "Not published:" in checked.text
    assert found.verdict.reasons[0] in checked.text


def test_the_page_of_a_sweep_shows_effect_and_separation_by_block() -> None:
    vector = lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0})
    found = sweep(*parts(), [vector], study(), LOOSE, strengths=(4.0,), new_tokens=8)
    checked = read_page(sweep_page(found))
    assert "Gain by block, block_output" in checked.text
    assert "Separation by block" in checked.text
    assert "9.00" in checked.text


def test_vectors_that_push_against_each_other_are_told_of() -> None:
    vector = lettered({3: 1.0})
    bench = Bench(*parts(), {"more": vector, "less": lettered({3: -1.0})}, new_tokens=8)
    pushes = {name: Push(name, (3,), 4.0) for name in ("more", "less")}
    goals = {"more": Goal("letters", letters), "less": Goal("few letters", letters, up=False)}
    prompts = study().prompts.tuning
    with bench:
        fighting = compose(bench, pushes, goals, prompts)
        pushes["less"] = Push("less", (3,), -4.0)
        agreeing = compose(bench, pushes, goals, prompts)
    assert fighting.pairs[0].cosines == {3: pytest.approx(-1.0, abs=1e-5)}
    assert "at block 3 push against each other" in fighting.warnings[0]
    assert any("beside less, more keeps" in warning for warning in fighting.warnings)
    assert fighting.pairs[0].effects[0].together.value == pytest.approx(0.0, abs=0.05)
    assert "at block 3 push the same way" in agreeing.warnings[0]
    checked = read_page(composition_page(fighting))
    assert "push against each other" in checked.text


def test_vectors_of_two_sites_or_blocks_have_no_cosine() -> None:
    assert cosines(lettered({2: 1.0}), lettered({3: 1.0})) == {}


@given(st.text())
def test_what_a_model_wrote_cannot_leave_its_cell(text: str) -> None:
    hostile = f"</td><script>{text}</script>&<img src=x>"
    checker = _Checker()
    checker.feed(page("t", [table(["a"], [[hostile]])]))
    checker.close()
    assert not checker.open
    assert not checker.addresses


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).map(lambda pair: Dot(*pair)),
        min_size=1,
        max_size=9,
    )
)
def test_every_dot_lies_inside_the_picture(dots: list[Dot]) -> None:
    figure = chart([Line("a <b>", tuple(dots))], title="t & u", x_label="x", y_label="y", bound=0.5)
    found = re.search(r"<svg.*?</svg>", figure, re.DOTALL)
    assert found is not None
    picture = ElementTree.fromstring(found[0])
    width, height = map(float, picture.get("viewBox", "").split()[2:])
    marks = picture.findall(".//{http://www.w3.org/2000/svg}path[@class='dot']")
    assert len(marks) == len(dots)
    for mark in marks:
        place = re.fullmatch(r"translate\((\S+) (\S+)\)", mark.get("transform", ""))
        assert place is not None
        assert 0 <= float(place[1]) <= width
        assert 0 <= float(place[2]) <= height
