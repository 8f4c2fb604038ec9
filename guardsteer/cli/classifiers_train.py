"""``classifiers train``: from a table of rows, or from a recipe and the public sets that it names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardsteer.cli import frame
from guardsteer.cli.classifiers_eval import folder_of

if TYPE_CHECKING:
    from guardsteer.lab.classifiers.evaluate import Evaluation
    from guardsteer.lab.classifiers.fitting import Settings

__all__ = ["add", "run"]


def add(actions: frame.Subparsers) -> None:
    """Add ``classifiers train``."""
    parser = frame.add_command(
        actions,
        "train",
        "train a classifier of text from a table, or again from a recipe",
        "guardsteer classifiers train --recipe classifiers/refusal --sets data --out build/refusal\n"
        "  guardsteer classifiers train --data rows.csv --positive hostile --out classifiers/hostile\n"
        "  guardsteer classifiers train --recipe classifiers/refusal-meaning --sets data \\\n"
        "      --encoder encoders/all-MiniLM-L6-v2 --out build/refusal-meaning",
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--recipe", metavar="DIR", help="folder with recipe.yaml, the file, or a catalogue name"
    )
    what.add_argument("--data", metavar="FILE", type=Path, help="CSV with a header, or JSON Lines")
    add("--sets", metavar="DIR", type=Path, help="folder of the public sets that a recipe names")
    add(
        "--encoder",
        metavar="DIR",
        type=Path,
        help="train on the embeddings of this exported encoder, in place of words (a recipe names which)",
    )
    add("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    add("--report", metavar="FILE", type=Path, help="write the evaluation as one HTML page (recipes alone)")
    table = parser.add_argument_group("with --data")
    add = table.add_argument
    add("--text-column", default="text", metavar="NAME")
    add("--label-column", default="label", metavar="NAME")
    add("--positive", metavar="LABEL", help="with two labels, the one whose probability is the score")
    add("--analyzer", choices=("word", "char", "char_wb"), default="word")
    add(
        "--normalise",
        choices=("unicode", "skeleton"),
        help="undo disguised writing first: unicode (invisible signs, accents, forms of letters) or skeleton "
        "(also lookalikes of other scripts, leetspeak, letters spread out)",
    )
    add("--ngrams", type=int, nargs=2, default=(1, 2), metavar=("SHORTEST", "LONGEST"))
    add("--features", type=int, default=40_000, metavar="N", help="largest vocabulary (default: 40000)")
    add("--hashing", action="store_true", help="hash n-grams in place of a vocabulary")
    add(
        "--pipeline",
        metavar="MODULE:FUNCTION",
        help="fit the scikit-learn pipeline that this function makes, in place of a linear model",
    )
    add(
        "--read",
        default="sentences",
        metavar="WHEN",
        help="where a pipeline or encoder reads: prompt, sentences or 'every N' words (default: sentences)",
    )
    add(
        "--prefixes",
        type=int,
        default=1,
        metavar="N",
        help="beginnings of each text to train on (default: 1)",
    )
    add("--seed", type=int, default=0, metavar="N")
    add("--name", help="name on the card (default: the folder's)")
    add("--description", default="", metavar="TEXT")
    add("--licence", default="", metavar="TEXT", help="licence of the classifier")
    add("--source", action="append", default=[], metavar="TEXT", help="attribution; may be repeated")


def run(args: argparse.Namespace) -> int:
    """Train and print the figures. Mistakes leave as ``GuardsteerError``."""
    return _from_recipe(args) if args.recipe is not None else _from_table(args)


def _from_recipe(args: argparse.Namespace) -> int:
    from guardsteer.lab.classifiers.eval_page import evaluation_page
    from guardsteer.lab.classifiers.eval_text import figure
    from guardsteer.lab.reports.report import save_page

    evaluation, metrics = _built(args)
    if args.report is not None:
        save_page(args.report, evaluation_page(args.out.name, evaluation))
    if args.json:
        thresholds = [
            {"output": each.output, "value": each.value, "holds": each.holds, "reasons": list(each.reasons)}
            for each in evaluation.thresholds
        ]
        frame.emit({"ok": True, "path": str(args.out), "metrics": metrics, "thresholds": thresholds})
        return 0
    for sheet in evaluation.sheets:
        if not sheet.slice and "auroc" in sheet.figures:
            where = f"{sheet.output}, {sheet.source} ({sheet.seen})"
            print(f"AUROC {figure(sheet.figures['auroc'])}  {where}")
    for each in evaluation.thresholds:
        print(f"threshold {each.value:.4f} of {each.output}: {'holds' if each.holds else 'does not hold'}")
        for reason in each.reasons:
            print(f"  {reason}")
    print(f"written to {args.out}")
    return 0


def _built(args: argparse.Namespace) -> tuple[Evaluation, dict[str, Any]]:
    """Return the evaluation and the card's figures of what the recipe makes."""
    from guardsteer.classify.files.card import read_card
    from guardsteer.errors import ClassifierError
    from guardsteer.lab.classifiers.combining.recipe import is_stack
    from guardsteer.lab.classifiers.combining.train import train_stack
    from guardsteer.lab.classifiers.train_recipe import train_recipe

    recipe = folder_of(args.recipe)
    if is_stack(recipe):
        if args.encoder is None:
            raise ClassifierError(
                f"{recipe}: is the recipe of a stack with an encoder; name its folder with --encoder DIR "
                "(guardsteer classifiers export MODEL --out DIR makes one)"
            )
        evaluation = train_stack(recipe, args.sets, args.encoder, args.out, frame.progress).evaluation
    else:
        evaluation = train_recipe(recipe, args.sets, args.out, frame.progress, args.encoder).evaluation
    return evaluation, read_card(args.out).model_dump(mode="json")["metrics"]


def _from_table(args: argparse.Namespace) -> int:
    from guardsteer.errors import ClassifierError
    from guardsteer.lab.classifiers.data import read_examples
    from guardsteer.lab.classifiers.fitting import About
    from guardsteer.lab.classifiers.pipelines import named_pipeline, train_pipeline
    from guardsteer.lab.classifiers.train import train

    if args.report is not None or args.sets is not None:
        raise ClassifierError(
            "--sets and --report go with --recipe; evaluate a table with: classifiers eval --data"
        )
    name = args.name or args.out.resolve().name
    about = About(name, "1", args.description, args.licence, tuple(args.source))
    rows = read_examples(args.data, text_column=args.text_column, label_column=args.label_column)
    if args.pipeline is None:
        training = train(rows, _settings(args), about, args.out)
    else:
        made = named_pipeline(args.pipeline)
        training = train_pipeline(rows, made, _settings(args), about, args.out, read=args.read)
    if args.json:
        metrics = {metric: dict(value) for metric, value in training.metrics.items()}
        frame.emit({"ok": True, "path": str(args.out), "metrics": metrics})
        return 0
    for metric, value in training.metrics.items():
        print(
            f"{metric.replace('_', ' '):<40} {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        )
    print(f"written to {args.out}")
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    from guardsteer.errors import ClassifierError
    from guardsteer.lab.classifiers.fitting import Settings

    shortest, longest = args.ngrams
    if not 1 <= shortest <= longest or args.features < 1 or args.prefixes < 0 or args.seed < 0:
        raise ClassifierError(
            "--ngrams must be two numbers, the first no larger, --features at least 1, --prefixes and --seed "
            f"at least 0; got {shortest} {longest}, {args.features}, {args.prefixes}, {args.seed}"
        )
    if args.encoder is not None and args.pipeline is not None:
        raise ClassifierError("--encoder and --pipeline each say what is fitted; give one of them")
    encoder = None
    if args.encoder is not None:
        from guardsteer.lab.classifiers.encoders.embedding import open_embedding

        encoder = open_embedding(args.encoder, read=args.read)
    return Settings(
        encoder=encoder,
        vectorizer="hashing" if args.hashing else "tfidf",
        analyzer=args.analyzer,
        normalise=args.normalise,
        ngrams=(shortest, longest),
        max_features=args.features,
        sublinear_tf=not args.hashing,
        use_idf=not args.hashing,
        balanced=True,
        positive=args.positive,
        tune=0.15,
        test=0.15,
        seed=args.seed,
        grouped=True,
        prefixes=args.prefixes,
        calibrated=True,
    )
