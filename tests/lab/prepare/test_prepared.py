"""The report of ``prepare``: a table with the window now beside the one before, a record, and a page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guardsteer.errors import AssetError
from guardsteer.evaluate import Estimate
from guardsteer.lab.prepare.page import prepared_page
from guardsteer.lab.prepare.prepared import (
    HEADS,
    SEPARATION,
    Figures,
    Made,
    Old,
    Report,
    read_made,
    write_made,
)
from guardsteer.steer import Recommendation
from guardsteer.steer.artifact import Schedule

WINDOW = Recommendation(blocks=(5,), positions=("generated",), low=0.2, recommended=0.3, high=0.45)
BEFORE = Recommendation(
    blocks=(4,),
    positions=("generated",),
    low=0.1,
    recommended=0.2,
    high=0.25,
    schedule=Schedule(half_life=8.0),
)
FIGURES = Figures(Estimate(0.3, 0.2, 0.4, 60), Estimate(1.3, 1.2, 1.4, 60), (0.01, -0.02))


def _made(folder: Path, **changes: object) -> Made:
    made = Made("warmth", "built", folder / "warmth.safetensors", window=WINDOW, figures=FIGURES)
    return replace(made, chosen_by="vader", plan={"data": "b3:1"}, **changes)  # type: ignore[arg-type]  # fields by name


def _report(folder: Path, *made: Made) -> Report:
    return Report("warm", "364089009d6f", folder, made)


def test_the_window_before_stands_below_the_one_now_in_the_same_columns(tmp_path: Path) -> None:
    old = Old("0123456789ab", BEFORE, ("weights", "tokenizer"), FIGURES)
    rows = list(_report(tmp_path, _made(tmp_path, old=old)).rows())
    now, before = (dict(zip(HEADS, row, strict=True)) for row in rows)
    assert (now["model"], now["blocks"], now["for"], now["low"], now["high"]) == (
        "364089009d6f",
        "5",
        "constant",
        "0.2",
        "0.45",
    )
    assert (before["state"], before["for"], before["low"], before["best"]) == (
        "before",
        "half-life 8",
        "0.1",
        "0.2",
    )
    text = "\n".join(_report(tmp_path, _made(tmp_path, old=old)).lines())
    assert "differs in weights, tokenizer" in text
    assert "random vectors of its norm in its place gain +0.010, -0.020" in text


def test_a_policy_that_leaves_a_window_runs_and_is_not_ok(tmp_path: Path) -> None:
    report = _report(tmp_path, _made(tmp_path, outside=("rule 'a' pushes it by 2",)))
    assert (report.runs, report.ok) == (True, False)
    assert _report(tmp_path, _made(tmp_path)).ok
    failed = _report(tmp_path, replace(_made(tmp_path), state="failed"))
    assert (failed.runs, failed.ok) == (False, False)


def test_a_record_is_read_as_it_was_written_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    made = _made(tmp_path, reasons=("why",), notes=("note",))
    write_made(tmp_path, made)
    found = read_made(tmp_path)
    assert found is not None
    assert replace(found, reasons=made.reasons) == made
    path = tmp_path / "prepared.json"
    whole = json.loads(path.read_text())
    for damage in (
        {"format": "x"},
        {"state": "odd"},
        {"window": {"low": 1}},
        {"held_out": {"gain": 1}},
        {"kind": 3},
    ):
        path.write_text(json.dumps(whole | damage))
        assert read_made(tmp_path) is None
    path.write_text("{")
    assert read_made(tmp_path) is None


def test_the_report_is_saved_whole_as_json_by_kind(tmp_path: Path) -> None:
    probe = Made("mood", "built", tmp_path, kind="probe")
    told = json.loads(_report(tmp_path, _made(tmp_path), probe).save().read_text())
    assert [each["name"] for each in told["vectors"]] == ["warmth"]
    assert [each["name"] for each in told["probes"]] == ["mood"]
    assert told["vectors"][0]["held_out"]["random"] == [0.01, -0.02]
    with pytest.raises(AssetError, match="cannot be written"):
        _report(tmp_path / "none", probe).save()


def test_a_policy_without_needs_says_so(tmp_path: Path) -> None:
    assert _report(tmp_path).lines() == [
        "the policy warm names no vector and no probe: there is nothing to prepare"
    ]
    assert "nothing to prepare" in prepared_page(_report(tmp_path))


def test_the_page_shows_both_windows_links_the_calibration_and_escapes_what_it_is_told(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "vectors" / "warmth@0" / "artifacts" / "364089009d6f"
    folder.mkdir(parents=True)
    (folder / "calibration.html").write_text("")
    old = Old("0123456789ab", BEFORE, ("weights",))
    made = _made(folder, old=old, reasons=("<script>alert(1)</script>",))
    text = prepared_page(_report(tmp_path, made))
    assert "0123456789ab" in text
    assert "+0.300" in text
    assert 'href="vectors/warmth@0/artifacts/364089009d6f/calibration.html"' in text
    assert "<script>" not in text
    assert "every strength within its window" in text
    outside = prepared_page(_report(tmp_path, _made(folder, outside=("rule 'a' pushes it by 2",))))
    assert "pushes warmth outside" in outside
    guess = prepared_page(_report(tmp_path, replace(made, chosen_by=SEPARATION, figures=None)))
    assert "NOT CALIBRATED" in guess
