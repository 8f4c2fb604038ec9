"""``classifiers eval``: how well a classifier does on your rows, or on its recipe's that it never saw."""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from guardsteer.cli import frame

if TYPE_CHECKING:
    from guardsteer.lab.classifiers.data import Example
    from guardsteer.lab.classifiers.eval_stream import Tokens
    from guardsteer.lab.classifiers.evaluate import Evaluation

__all__ = ["add", "folder_of", "run"]


def add(actions: frame.Subparsers) -> None:
    """Add ``classifiers eval``."""
    parser = frame.add_command(
        actions,
        "eval",
        "evaluate a classifier on labelled rows, as whole texts and in streams",
        "guardsteer classifiers eval refusal --sets data --stream --report refusal.html\n"
        "  guardsteer classifiers eval hostility --data rows.csv --positive hostile",
    )
    add = parser.add_argument
    add("classifier", metavar="NAME", help="a catalogue name or a folder")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", metavar="FILE", type=Path, help="CSV with a header, or JSON Lines")
    what.add_argument(
        "--sets",
        metavar="DIR",
        type=Path,
        help="folder of the public sets that the classifier's recipe names",
    )
    add("--recipe", metavar="DIR", help="with --sets: the recipe (default: beside the card)")
    add("--every-row", action="store_true", help="with --sets: also rows that the recipe trains on")
    add("--text-column", default="text", metavar="NAME")
    add("--label-column", default="label", metavar="NAME")
    add("--positive", metavar="LABEL", help="with one output: the label that it stands for")
    add("--threshold", type=float, metavar="X", help="0 to 1 (default: the card's)")
    add("--stream", action="store_true", help="also put onsets behind benign text and tell the delay")
    add(
        "--disguise",
        action="store_true",
        help="also write positive rows otherwise and tell what is still raised",
    )
    add("--after", type=int, nargs="+", default=[1, 3], metavar="N", help="debounces (default: 1 3)")
    add("--streams", type=int, default=300, metavar="N", help="onsets to try (default: 300)")
    add("--tokenizer", metavar="PATH", help="cut streams by this tokenizer (default: pieces of words)")
    add("--seed", type=int, default=0, metavar="N")
    add("--report", metavar="FILE", type=Path, help="write one HTML page")
    add(
        "--write",
        action="store_true",
        help="keep the figures beside the card, in evaluation.json and README.md; where training told of "
        "sources left out, those of --disguise alone",
    )


def folder_of(given: str) -> Path:
    """Return the folder of a classifier that is given as a path or by its catalogue name."""
    from guardsteer.assets import Catalog

    path = Path(given)
    return Catalog().find("classifiers", given) if not path.exists() and "/" not in given else path


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the figures. Mistakes leave as ``GuardsteerError``."""
    from guardsteer.lab.classifiers.eval_file import plain_evaluation, write_evaluation
    from guardsteer.lab.classifiers.eval_page import evaluation_page
    from guardsteer.lab.classifiers.eval_text import evaluation_lines
    from guardsteer.lab.classifiers.readme import write_readme
    from guardsteer.lab.reports.report import save_page

    folder = folder_of(args.classifier)
    found, threshold, rows = _tried(args, folder)
    if args.write:
        write_evaluation(folder, _with_what_training_told(folder, found, disguise=args.disguise))
        write_readme(folder)
    if args.report is not None:
        save_page(args.report, evaluation_page(folder.resolve().name, found))
    if args.json:
        frame.emit({"ok": True, "threshold": threshold, "rows": rows, "evaluation": plain_evaluation(found)})
        return 0
    print("\n".join(evaluation_lines(found)))
    return 0


def _tried(args: argparse.Namespace, folder: Path) -> tuple[Evaluation, float, int]:
    """Return the evaluation, the threshold and the number of rows."""
    from guardsteer.lab.classifiers.trial import (
        load_reader,
        threshold_of,
        try_in_disguise,
        try_on,
        try_on_streams,
    )

    classifier = load_reader(folder)
    threshold = threshold_of(folder) if args.threshold is None else args.threshold
    _check(args, threshold)
    rows, positive, apart, failures = _rows(args, folder)
    found = try_on(classifier, rows, positive=positive, threshold=threshold, apart=apart, seed=args.seed)
    found = replace(found, failures=failures)
    if args.stream:
        tokens, name = _tokens(args.tokenizer)
        heard = try_on_streams(
            classifier,
            rows,
            positive=positive or "",
            threshold=threshold,
            after=args.after,
            count=args.streams,
            seed=args.seed,
            tokens=tokens,
            token_name=name,
        )
        found = replace(found, streamed=heard)
    if args.disguise:
        tried = try_in_disguise(
            classifier, rows, positive=positive or "", threshold=threshold, seed=args.seed
        )
        found = replace(found, disguised=tried)
    return found, threshold, len(rows)


def _with_what_training_told(folder: Path, found: Evaluation, *, disguise: bool) -> Evaluation:
    """Return what is written: figures on sources left out come from training alone, and are kept."""
    from guardsteer.errors import ClassifierError
    from guardsteer.lab.classifiers.eval_file import read_evaluation

    before = read_evaluation(folder)
    if before is None or all(sheet.seen != "source left out" for sheet in before.sheets):
        return found
    if not disguise:
        raise ClassifierError(
            f"{folder}: its evaluation tells what training found on sources left out, which these figures "
            "would replace; leave out --write, or add --disguise to keep what that finds beside them"
        )
    return replace(before, disguised=found.disguised)


def _check(args: argparse.Namespace, threshold: float) -> None:
    from guardsteer.errors import ClassifierError

    wrong = []
    if not 0 <= threshold <= 1:
        wrong.append(f"--threshold must be 0 to 1, got {threshold:g}")
    if args.streams < 1 or min(args.after) < 1:
        wrong.append(f"--streams and --after must be at least 1, got {args.streams} and {args.after}")
    if args.seed < 0:
        wrong.append(f"--seed must be at least 0, got {args.seed}")
    if wrong:
        raise ClassifierError("; ".join(wrong))


def _rows(
    args: argparse.Namespace, folder: Path
) -> tuple[list[Example], str | None, str | None, tuple[str, ...]]:
    """Return the rows, the positive label, the label apart, and the failures that the recipe tells."""
    from guardsteer.lab.classifiers.data import read_examples
    from guardsteer.lab.classifiers.recipe import load_classifier_recipe
    from guardsteer.lab.classifiers.train_recipe import unseen_rows

    if args.data is not None:
        rows = read_examples(args.data, text_column=args.text_column, label_column=args.label_column)
        return rows, args.positive, None, ()
    place = folder if args.recipe is None else folder_of(args.recipe)
    recipe = load_classifier_recipe(place)
    rows = unseen_rows(place, args.sets, every=args.every_row)
    return rows, recipe.positive, recipe.apart, recipe.failures


def _tokens(given: str | None) -> tuple[Tokens, str]:
    from guardsteer.lab.classifiers.eval_stream import pieces

    if given is None:
        return pieces, ""
    from transformers import AutoTokenizer

    from guardsteer.errors import ClassifierError

    try:
        tokenizer = AutoTokenizer.from_pretrained(given, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ClassifierError(
            f"--tokenizer {given}: cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    if not tokenizer.is_fast:
        raise ClassifierError(
            f"--tokenizer {given}: does not tell where its tokens are in a text; give a fast one"
        )

    def tokens(text: str) -> list[str]:
        spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        # What lies between two tokens goes with the second, what lies behind the last with the last.
        ends = [*(end for _, end in spans[:-1]), len(text)]
        return [text[start:end] for start, end in pairwise([0, *ends])]

    return tokens, f"those of {Path(given).name}"
