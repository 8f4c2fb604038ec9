"""Figures of classifiers: each against another way of computing it, or against what must hold."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score, roc_curve

from guardsteer.classify.patterns import PatternClassifier
from guardsteer.errors import ClassifierError
from guardsteer.evaluate import Estimate
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.disguise import DISGUISES, Disguised, disguised
from guardsteer.lab.classifiers.eval_file import read_evaluation, write_evaluation
from guardsteer.lab.classifiers.eval_page import evaluation_page
from guardsteer.lab.classifiers.eval_stream import (
    Splice,
    pieces,
    splices_of,
    stream_scores,
    streamed,
    threshold_for_streams,
)
from guardsteer.lab.classifiers.eval_text import evaluation_lines, worst_first
from guardsteer.lab.classifiers.evaluate import (
    Evaluation,
    Miss,
    Scored,
    Sheet,
    Threshold,
    accuracies,
    judge_threshold,
    misses_of,
    sheets_of,
    uncalibrated,
)
from guardsteer.lab.classifiers.figures import (
    Floats,
    Labels,
    figures_of,
    reliability_of,
    roc_of,
    threshold_for,
)
from guardsteer.lab.classifiers.trial import try_on_streams


def drawn(rows: int = 800, *, seed: int = 0, apart: float = 1.0) -> tuple[Labels, Floats]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, rows)
    scores = 1 / (1 + np.exp(-generator.normal(size=rows) - apart * (2 * labels - 1)))
    # Ties are where rank statistics go wrong.
    return labels, np.round(scores, 2)


def test_figures_are_those_of_scikit_learn_ties_included() -> None:
    labels, scores = drawn()
    found = figures_of(labels, scores, scores, 0.6, resamples=20)
    said = scores >= 0.6
    assert found["auroc"].value == pytest.approx(roc_auc_score(labels, scores))
    assert found["f1"].value == pytest.approx(f1_score(labels, said))
    assert found["tpr"].value == pytest.approx(said[labels == 1].mean())
    assert found["fpr"].value == pytest.approx(said[labels == 0].mean())
    assert found["accuracy"].value == pytest.approx((said == labels).mean())
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    for percent in (1, 5):
        value = found[f"tpr_at_{percent}_percent_fpr"].value
        assert value == pytest.approx(true[false <= percent / 100].max())


def test_an_interval_holds_its_figure_and_narrows_with_rows() -> None:
    wide, narrow = (figures_of(*drawn(rows), drawn(rows)[1], 0.5) for rows in (150, 6000))
    for name in ("auroc", "f1", "tpr", "fpr", "accuracy"):
        assert wide[name].low <= wide[name].value <= wide[name].high
        assert narrow[name].high - narrow[name].low < 0.5 * (wide[name].high - wide[name].low), name


def test_calibration_error_is_the_gap_between_what_is_said_and_what_is() -> None:
    generator = np.random.default_rng(1)
    said = generator.random(40_000)
    honest = (generator.random(40_000) < said).astype(np.int64)
    found = figures_of(honest, said, said**3, 0.5, resamples=10)
    assert found["ece_after"].value < 0.02
    assert found["ece_before"].value == pytest.approx(abs(said - said**3).mean(), abs=0.02)


@pytest.mark.parametrize("side", [0, 1])
def test_rows_of_one_class_give_the_figures_that_they_allow(side: int) -> None:
    labels, scores = np.full(200, side), np.linspace(0, 1, 200)
    for threshold, share in ((0.5, 0.5), (-1.0, 1.0), (2.0, 0.0)):
        found = figures_of(labels, scores, scores, threshold, resamples=5)
        rate = "tpr" if side else "fpr"
        assert found[rate].value == pytest.approx(share)
        assert found["accuracy"].value == pytest.approx(share if side else 1 - share)
        assert not {"auroc", "f1", "tpr_at_1_percent_fpr", "fpr" if side else "tpr"} & set(found)


def test_a_rate_at_one_percent_needs_a_hundred_negatives() -> None:
    labels = np.array([1] * 50 + [0] * 99)
    scores = np.linspace(1, 0, 149)
    assert "tpr_at_1_percent_fpr" not in figures_of(labels, scores, scores, 0.5, resamples=5)
    assert "tpr_at_5_percent_fpr" in figures_of(labels, scores, scores, 0.5, resamples=5)


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05, 0.3])
def test_a_threshold_is_the_least_that_keeps_its_rate(rate: float) -> None:
    labels, scores = drawn(3000)
    threshold = threshold_for(labels, scores, rate)
    negatives = scores[labels == 0]
    assert (negatives >= threshold).mean() <= rate
    assert (negatives >= threshold - 0.0101).mean() > rate
    assert threshold_for(np.ones(5, dtype=np.int64), np.ones(5), rate) == 1.0


def test_curves_run_from_corner_to_corner_and_bins_hold_every_row() -> None:
    labels, scores = drawn()
    roc = np.array(roc_of(labels, scores))
    assert tuple(roc[0]) == (0, 0)
    assert tuple(roc[-1]) == (1, 1)
    assert (np.diff(roc, axis=0) >= 0).all()
    assert len(roc) < 60
    assert np.trapezoid(roc[:, 1], roc[:, 0]) == pytest.approx(roc_auc_score(labels, scores), abs=0.01)
    assert roc_of(np.ones(4, dtype=np.int64), np.ones(4)) == ()
    bins = reliability_of(labels, scores)
    assert sum(rows for _, _, rows in bins) == len(labels)
    assert sum(share * rows for _, share, rows in bins) == pytest.approx(labels.sum())


def scored(rows: int = 200) -> Scored:
    labels, scores = drawn(rows)
    examples = [
        Example(f"text {n}", "bad" if label else "good", "here", f"{'bad' if label else 'good'} {n % 2}")
        for n, label in enumerate(labels)
    ]
    return Scored("here", "test rows", examples, scores[:, None], 0.6)


def test_a_slice_of_one_class_is_held_against_all_rows_of_the_other() -> None:
    found = {sheet.slice: sheet for sheet in sheets_of(scored(), ["good", "bad"], ["score"])}
    assert set(found) == {"", "bad 0", "bad 1", "good 0", "good 1"}
    part = scored()
    chosen = [n for n, row in enumerate(part.rows) if row.slice != "bad 1"]
    labels = np.array([part.rows[n].label == "bad" for n in chosen])
    auroc = roc_auc_score(labels, part.scores[chosen, 0])
    sheet = found["bad 0"]
    assert sheet.figures["auroc"].value == pytest.approx(auroc)
    assert sheet.positives == sheet.rows == sum(row.slice == "bad 0" for row in part.rows)
    assert found["good 0"].positives == 0
    assert found[""].roc
    assert not sheet.roc


def test_a_slice_that_is_the_whole_source_or_a_handful_has_no_sheet() -> None:
    rows = [Example("a", "bad", "s", "one"), *[Example(f"{n}", "good", "s", "two") for n in range(30)]]
    part = Scored("s", "test rows", rows, np.linspace(1, 0, 31)[:, None], 0.5)
    assert [sheet.slice for sheet in sheets_of(part, ["good", "bad"], ["score"])] == [""]


def test_several_outputs_are_each_held_against_the_rest() -> None:
    rows = [Example(f"{n}", "abc"[n % 3]) for n in range(60)]
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], 60)
    part = Scored("s", "test rows", rows, scores, 0.5)
    for column, sheet in enumerate(sheets_of(part, ["a", "b", "c"], ["a", "b", "c"])):
        labels = np.array([row.label == "abc"[column] for row in rows])
        assert sheet.figures["auroc"].value == pytest.approx(roc_auc_score(labels, scores[:, column]))
    found = accuracies(part, ["a", "b", "c"], "c")
    right = scores.argmax(axis=1) == np.arange(60) % 3
    assert found["accuracy"].value == pytest.approx(right.mean())
    assert found["accuracy in scope"].value == pytest.approx(right[np.arange(60) % 3 < 2].mean())
    assert "accuracy in scope" not in accuracies(part, ["a", "b", "c"], None)


def test_a_calibration_is_taken_back() -> None:
    raw = np.array([[0.1], [0.5], [0.9]])
    decision = np.log(raw / (1 - raw))
    scores = 1 / (1 + np.exp(-(2.0 * decision - 1.0)))
    part = Scored("s", "test rows", [], scores, 0.5, slope=2.0, offset=-1.0)
    np.testing.assert_allclose(uncalibrated(part), raw, atol=1e-9)
    several = np.array([[0.2, 0.3, 0.5]])
    warm = several**2.0 / (several**2.0).sum()
    np.testing.assert_allclose(uncalibrated(Scored("s", "test rows", [], warm, 0.5, slope=2.0)), several)


def test_misses_are_the_rows_furthest_on_the_wrong_side() -> None:
    part = scored()
    found = misses_of(part, ["good", "bad"], ["score"])
    false = [miss for miss in found if miss.kind == "false alarm"]
    assert [miss.score for miss in false] == sorted((miss.score for miss in false), reverse=True)
    highest = max(
        score for row, score in zip(part.rows, part.scores[:, 0], strict=True) if row.label == "good"
    )
    assert false[0].score == highest >= 0.6
    assert all(miss.score < 0.6 for miss in found if miss.kind == "missed")
    assert max(sum(miss.kind == kind for miss in found) for kind in ("missed", "false alarm")) <= 12


def figure_sheet(source: str, *, fpr: float, tpr: float, slice_: str = "") -> Sheet:
    figures = {"fpr": Estimate(fpr, fpr, fpr, 100), "tpr": Estimate(tpr, tpr, tpr, 100)}
    return Sheet("score", source, "source left out", slice_, 100, 50, figures)


@pytest.mark.parametrize(
    ("fpr", "tpr", "holds"), [(0.02, 0.5, True), (0.021, 0.5, False), (0.0, 0.39, False), (0.02, 0.4, True)]
)
def test_a_threshold_holds_where_neither_rate_is_far_from_its_target(
    fpr: float, tpr: float, holds: bool
) -> None:
    sheets = [figure_sheet("one", fpr=0.0, tpr=0.9), figure_sheet("two", fpr=fpr, tpr=tpr)]
    found = judge_threshold("score", 0.7, 0.01, sheets, tuned_tpr=0.8)
    assert found.holds is holds
    assert [reason.startswith("two: ") for reason in found.reasons] == ([] if holds else [True])
    worse = figure_sheet("three", fpr=1.0, tpr=0.0, slice_="a slice decides nothing")
    assert judge_threshold("score", 0.7, 0.01, [sheets[0], worse], tuned_tpr=0.8).holds


class Shouting:
    """Says 1.0 while the last piece of text was in capitals."""

    outputs = ("score",)
    digest = ""

    def start(self) -> Shouting:
        fresh = Shouting()
        fresh.now = 0.0
        return fresh

    def push(self, text: str) -> None:
        self.now = float(text.strip().isupper())

    def scores(self) -> list[float]:
        return [self.now]

    def fork(self) -> Shouting:
        return self


def test_a_delay_counts_tokens_from_the_onset_and_a_debounce_adds_to_it() -> None:
    splice = Splice(("a", "B", "c", "d", "e", "F", "G", "H", "i"), 4)
    benign = Splice(("a", "B", "C", "d"), 4)
    scores = [stream_scores(Shouting(), each) for each in (splice, benign)]
    once = streamed([splice, benign], scores, 0.5, after=1)
    assert (once.delays, once.alarms, once.benign_tokens, once.early) == ((2,), 2, 8, 0)
    assert once.alarms_per_thousand == 250
    assert (once.median, once.ninetieth) == (2, 2)
    assert once.caught["8"].value == 1
    twice = streamed([splice, benign], scores, 0.5, after=2)
    assert (twice.delays, twice.alarms) == ((3,), 1)
    never = streamed([splice, benign], scores, 0.5, after=4)
    assert (never.delays, never.median, never.alarms) == ((None,), None, 0)
    early = Splice(("A", "B", "C"), 2)
    assert streamed([early], [[1.0, 1.0, 1.0]], 0.5).early == 1


def test_a_threshold_for_streams_keeps_its_rate_of_alarms() -> None:
    generator = np.random.default_rng(0)
    splices = [Splice(("x",) * 50, 50) for _ in range(200)]
    scores = [generator.random(50).tolist() for _ in splices]
    threshold = threshold_for_streams(splices, scores, after=1, alarms_per_token=1 / 500)
    assert streamed(splices, scores, threshold).alarms <= 20
    assert streamed(splices, scores, threshold - 0.01).alarms > 20


def test_streams_are_leads_of_benign_text_with_and_without_an_onset() -> None:
    rows = [Example(f"calm word {n}.", "good") for n in range(9)] + [Example("ANGRY words now", "bad")]
    found = splices_of(rows, "bad", count=20, seed=3)
    assert len(found) == 40
    for splice in found[:20]:
        assert "".join(splice.tokens[splice.onset :]) == " ANGRY words now"
        assert "ANGRY" not in "".join(splice.tokens[: splice.onset])
        assert 16 <= splice.onset <= 160
    assert all(splice.onset == len(splice.tokens) for splice in found[20:])
    assert found == splices_of(rows, "bad", count=20, seed=3)
    with pytest.raises(ClassifierError, match="others"):
        splices_of(rows[:-1], "bad", count=1, seed=0)
    text = "Überraschungen, I can't: é😀\n\tdo  that…"
    assert "".join(pieces(text)) == text
    assert max(map(len, pieces(text))) <= 7


def test_onsets_are_drawn_from_all_of_them_and_told_by_source() -> None:
    rows = [Example(f"say {word} loudly", "bad", word.lower()) for word in ("ONE", "TWO") for _ in range(50)]
    rows += [Example(f"calm word {n} is said.", "good", "three") for n in range(9)]
    found = splices_of(rows, "bad", count=20, seed=0)
    said = {word for splice in found for word in ("ONE", "TWO") if word in "".join(splice.tokens)}
    assert said == {"ONE", "TWO"}
    classifier = PatternClassifier(literals=("ONE",), ignore_case=False)
    heard = {
        each.part: each for each in try_on_streams(classifier, rows, positive="bad", threshold=0.5, after=[1])
    }
    assert set(heard) == {"", "onsets of one", "onsets of two"}
    assert heard["onsets of one"].caught["8"].value == 1
    assert heard["onsets of two"].caught["128"].value == 0
    assert 0 < heard[""].caught["8"].value < 1


def test_a_pattern_is_heard_where_it_is_complete() -> None:
    classifier = PatternClassifier(literals=("stop now",))
    splice = Splice(("go", " on", " stop", " n", "ow", " please"), 2)
    scores = stream_scores(classifier, splice)
    assert streamed([splice], [scores], 0.5).delays == (3,)


def test_a_disguise_keeps_the_letters_and_the_change_is_that_of_the_rows() -> None:
    text = "I cannot help with that request, sorry."
    for name, disguise in DISGUISES.items():
        assert disguise(text) != text, name
        splits = name in ("space in words", "letters spaced out", "words run together")
        assert len(disguise(text).split()) == len(text.split()) or splits
    assert DISGUISES["zero-width space in words"]("that and this").replace("\u200b", "") == "that and this"
    assert unicodedata.normalize("NFKC", DISGUISES["full-width letters"](text)) == text
    found = {
        each.disguise: each
        for each in disguised(
            lambda texts: np.array([float("cannot" in t) for t in texts]), [text, "no"], 0.5
        )
    }
    assert found["capitals"].tpr.value == 0
    assert found["capitals"].change.value == -0.5
    assert disguised(lambda texts: np.ones(len(texts)), [text] * 9, 0.5)[0].change.value == 0


def evaluation() -> Evaluation:
    sheets = tuple(sheets_of(scored(), ["good", "bad"], ["score"]))
    splice = Splice(("a", "B"), 1)
    return Evaluation(
        sheets,
        (Threshold("score", 0.6, 0.01, False, ("two: 5 % false positives",)),),
        (Miss("score", "missed", "here", "bad 0", 0.1, "<b>bold|</b> `code`"),),
        {"all": {"accuracy": Estimate(0.5, 0.4, 0.6, 9)}},
        (streamed([splice], [[0.0, 1.0]], 0.5),),
        (Disguised("capitals", Estimate(0.5, 0.4, 0.6, 9), Estimate(-0.25, -0.3, -0.2, 9)),),
        ("It fails on Mondays.",),
    )


def test_the_worst_comes_first_and_what_a_row_says_is_no_markup() -> None:
    sheets = worst_first(evaluation().sheets)
    values = [sheet.figures["auroc"].value for sheet in sheets]
    assert values == sorted(values)
    text = "\n".join(evaluation_lines(evaluation()))
    assert "two: 5 % false positives" in text
    assert "no default" in text
    assert "It fails on Mondays." in text
    assert "| capitals | 0.500 (0.400 to 0.600) | -0.250 (-0.300 to -0.200) |" in text
    assert "<b>" not in text
    page = evaluation_page("mood", evaluation())
    assert "<b>" not in page
    assert "&lt;b&gt;bold" in page
    for heading in (
        "ROC",
        "Reliability",
        "Delays at the threshold",
        "Misses, the worst first",
        "In disguise",
    ):
        assert heading in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_an_evaluation_is_bound_to_its_card_and_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "classifier.json").write_text("{}")
    write_evaluation(tmp_path, evaluation())
    first = (tmp_path / "evaluation.json").read_bytes()
    found = read_evaluation(tmp_path)
    assert found is not None
    assert found.thresholds == evaluation().thresholds
    assert [sheet.slice for sheet in found.sheets] == [sheet.slice for sheet in evaluation().sheets]
    write_evaluation(tmp_path, found)
    assert (tmp_path / "evaluation.json").read_bytes() == first
    (tmp_path / "classifier.json").write_text('{"name": "another"}')
    with pytest.raises(ClassifierError, match="another card"):
        read_evaluation(tmp_path)
    for broken in ("{", "[]", json.dumps({"format": 1, "card": 2})):
        (tmp_path / "evaluation.json").write_text(broken)
        with pytest.raises(ClassifierError, match="cannot be read"):
            read_evaluation(tmp_path)
    (tmp_path / "evaluation.json").unlink()
    assert read_evaluation(tmp_path) is None
