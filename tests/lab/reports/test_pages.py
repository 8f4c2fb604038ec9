"""Pages of what was found: heat maps and traces, and all pages as a browser without a network shows them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guardsteer.evaluate import Estimate
from guardsteer.host import point_at
from guardsteer.lab.measure.effects import Bench, Push
from guardsteer.lab.measure.measuring import Goal
from guardsteer.lab.prepare.page import prepared_page
from guardsteer.lab.prepare.prepared import Report
from guardsteer.lab.reports.calibration import calibration_parts
from guardsteer.lab.reports.report import calibration_page, composition_page, sweep_page, trace_page
from guardsteer.lab.reports.vector import found_beside, vector_page
from guardsteer.lab.reports.where import sweep_parts, trace_parts
from guardsteer.lab.tuning.calibrate import Place, Search, calibrate
from guardsteer.lab.tuning.composition import compose
from guardsteer.lab.tuning.sweep import sweep
from guardsteer.lab.where.trace import Cell as Carried
from guardsteer.lab.where.trace import Trace
from guardsteer.pages.figures import figure
from guardsteer.pages.heat import Cell, Interval, heat, intervals
from guardsteer.pages.page import save_page
from guardsteer.steer import Vector
from tests.lab.reports.test_report import read_page
from tests.lab.studies import LOOSE, lettered, letters, parts, study

SEGMENTS = ("cue", "user message", "last prompt token", "generated tokens")


def traced(cells: bool = True) -> Trace:
    """Return a trace with figures made up so that each can be found on the page."""

    def about(value: float) -> Estimate:
        return Estimate(value, value - 0.1, value + 0.1, 9)

    made = [
        Carried(point_at(block, site), segment, about(0.1 * block + place), about(0.05 * block - place))
        for block in range(3)
        for site in ("block_output", "mlp")
        for place, segment in enumerate(SEGMENTS)
    ]
    return Trace(
        recipe="warmth",
        cue="history",
        effect=about(3.25 if cells else 0.0),
        positive=about(1.5),
        negative=about(-1.75),
        right=0.875,
        cells=tuple(made) if cells else (),
        left_out=("a: too long",),
    )


@pytest.fixture(scope="module")
def pages() -> Mapping[str, str]:
    """Return every page of the lab, by name."""
    vector = lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0})
    swept = sweep(*parts(), [vector], study(), LOOSE, strengths=(4.0,), new_tokens=8)
    search = Search(places=(Place((3,)),), strengths=(2.0, 4.0), schedules=(None,), controls=2)
    calibrated = calibrate(*parts(), lettered({3: 1.0}), study(), search, LOOSE, new_tokens=8)
    vectors: dict[str, Vector] = {"more": vector, "less": lettered({3: -1.0})}
    with Bench(*parts(), vectors, new_tokens=8) as bench:
        pushes = {name: Push(name, (3,), 4.0) for name in vectors}
        goals = {name: Goal(name, letters) for name in vectors}
        composed = compose(bench, pushes, goals, study().prompts.tuning)
    return {
        "sweep": sweep_page(swept),
        "calibration": calibration_page(calibrated),
        "composition": composition_page(composed),
        "prepared": prepared_page(Report("support", "4f0c2a9be1d7", Path("out"), ())),
        "trace": trace_page(traced()),
        "vector": vector_page(vector, [("trait", "There is much of the letter.")], Path("nowhere")),
    }


def test_a_trace_is_shown_with_every_figure_in_words_and_in_a_table(pages: Mapping[str, str]) -> None:
    found = read_page(pages["trace"])
    assert "likelier by 3.25 (3.15 to 3.35) nats" in found.text
    assert "88% move the right way" in found.text
    assert "Effect restored, block_output" in found.text
    assert "Effect lost, mlp" in found.text
    assert "Generated tokens: half of it or more at blocks 0 to 2, at most 3.20." in found.text
    for cell in traced().cells:
        for told in (cell.restored, cell.lost):
            assert f"{told.value:+.2f} ({told.low:+.2f} to {told.high:+.2f})" in found.text
    assert "Left out: 1 pairs" in found.text


def test_where_there_is_nothing_to_trace_the_page_says_so() -> None:
    found = read_page(trace_page(traced(cells=False)))
    assert "Nothing to trace" in found.text
    assert "Effect restored" not in found.text


def test_a_heat_map_can_be_read_without_colour() -> None:
    cells = {("0", "cue"): Cell(0.4, "0.40 (0.30 to 0.50)", sure=True), ("1", "cue"): Cell(-0.13, "lost")}
    drawn = heat(cells, ["0", "1"], ["cue"], title="t & u", row_label="block")
    assert '<text class="b"' in drawn
    assert ">0.40</text>" in drawn
    assert ">\N{MINUS SIGN}0.13</text>" in drawn
    assert "block 0, cue: 0.40 (0.30 to 0.50)" in drawn
    assert "Highest: block 0, cue, 0.40" in drawn
    hostile = "</text><script>x</script>"
    drawn = heat(
        {(hostile, hostile): Cell(1.0, hostile)}, [hostile], [hostile], title=hostile, row_label=hostile
    )
    assert "<script" not in drawn
    with pytest.raises(ValueError, match="at least one cell"):
        heat({}, [], [], title="t", row_label="block")


def test_intervals_are_drawn_about_zero_and_told() -> None:
    drawn = intervals(
        [Interval("a trait", -0.2, -0.3, -0.1), Interval("b", 0.0, -0.1, 0.1)], title="t", x_label="x"
    )
    assert "a trait: -0.200 (-0.300 to -0.100)" in drawn
    assert drawn.count('class="dot"') == 2
    with pytest.raises(ValueError, match="at least one"):
        intervals([], title="t", x_label="x")


def test_what_was_subtracted_is_shown_by_its_strength_and_exactly_nothing_is_not_bold() -> None:
    found = {"value": 0.5, "low": 0.25, "high": 0.75, "rows": 9}
    rung = {"push": {"blocks": [3], "strength": -0.4}, "gain": found}
    body = "".join(
        calibration_parts({"curve": [rung], "window": {"low": 0.3, "recommended": 0.4, "high": 0.5}})
    )
    assert '<tr class="in">' in body
    assert "vector: 0.5 (0.25 to 0.75) at 0.4" in body
    nothing = {"value": 1e-9, "low": 1e-10, "high": 1e-8, "rows": 9}
    cell = {"block": 0, "site": "mlp", "segment": "cue", "restored": nothing, "lost": found}
    drawn = "".join(trace_parts({"cells": [cell]}))
    assert '<text class="dim" x=' in drawn
    assert drawn.count('<text class="b" x=') == 1


def test_fields_that_are_not_known_are_shown_and_those_that_are_missing_are_left_out() -> None:
    found = {"value": 0.5, "low": 0.25, "high": 0.75, "rows": 9}
    rung = {"push": {"blocks": [3], "strength": 0.4}, "gain": found, "dryness": found, "odd": {"a": 1}}
    body = "".join(calibration_parts({"curve": [rung], "trials": [rung], "novel": 3}))
    assert "Dryness" in body
    assert figure(found) in body
    assert "Not published" in body
    assert "Steering helps nowhere" in "".join(sweep_parts({}))
    assert "Nothing to trace" in "".join(trace_parts({}))
    spot = {"block": 2, "site": "mlp", "gain": found, "outcome": "mended", "push": {}}
    assert "mended" in "".join(sweep_parts({"spots": [spot]}))


def test_the_page_of_a_vector_shows_what_lies_beside_it_and_whose_it_is(tmp_path: Path) -> None:
    vector = lettered({2: -1.0, 3: 1.0}, {2: 9.0, 3: 1.0})
    swept = sweep(
        *parts(), [vector], study(), LOOSE, positions=[("generated",)], strengths=(4.0,), new_tokens=8
    )
    swept.save(tmp_path)
    traced().save(tmp_path)
    (tmp_path / "calibration.json").write_text('{"format": "another"}')
    assert set(found_beside(tmp_path)) == {"sweep", "trace"}
    mine = read_page(vector_page(vector, [], tmp_path)).text
    assert "Where to steer" in mine
    assert "What carries the trait" in mine
    assert "was measured with another vector" not in mine
    assert "sweep.json was measured with another vector" in vector_page(lettered({3: 1.0}), [], tmp_path)
    (tmp_path / "sweep.json").write_text("[")
    assert set(found_beside(tmp_path)) == {"trace"}


def test_a_window_on_the_card_makes_no_other_vector_of_it(tmp_path: Path) -> None:
    search = Search(places=(Place((3,)),), strengths=(2.0, 4.0), schedules=(None,), controls=1)
    vector = lettered({3: 1.0})
    found = calibrate(*parts(), vector, study(), search, LOOSE, new_tokens=8)
    found.save(tmp_path)
    published = found.publish(vector)
    assert published.digest != vector.digest
    assert "was measured with another vector" not in vector_page(published, [], tmp_path)
    assert "was measured with another vector" in vector_page(lettered({2: 1.0}), [], tmp_path)


@pytest.fixture(scope="module")
def browser() -> str:
    """Return the path of a Chromium; skip where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip(
            "needs Chromium to load the pages: none of chromium, chromium-browser, google-chrome is here"
        )
    return found


def _loaded(browser: str, page: Path, folder: Path) -> tuple[str, str, list[str]]:
    """Return the document as the browser holds it, what it complained of, and what the page asked for."""
    log = folder / "net.json"
    command: list[Any] = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder}", f"--log-net-log={log}", "--enable-logging=stderr", "--v=0",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=390,900", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    events = [event.get("params") or {} for event in json.loads(log.read_text())["events"]]
    # What the browser asks for on its own account has no page as its initiator.
    asked = [event["url"] for event in events if "url" in event and event.get("initiator") == "null"]
    return done.stdout, done.stderr, asked


@pytest.mark.parametrize("name", ["sweep", "calibration", "composition", "prepared", "trace", "vector"])
def test_a_browser_shows_a_page_without_an_error_and_without_a_request(
    name: str, pages: Mapping[str, str], browser: str, tmp_path: Path
) -> None:
    path = save_page(tmp_path / f"{name}.html", pages[name])
    shown, complaints, asked = _loaded(browser, path, tmp_path / "profile")
    assert "</main>" in shown
    assert "CONSOLE" not in complaints
    assert asked == []


def test_a_page_that_asks_for_something_or_complains_is_noticed(browser: str, tmp_path: Path) -> None:
    body = '<main></main><img src="http://outside.example/x.png"><script>console.error("x")</script>'
    _, complaints, asked = _loaded(browser, save_page(tmp_path / "hostile.html", body), tmp_path / "profile")
    assert "CONSOLE" in complaints
    assert "http://outside.example/x.png" in asked
