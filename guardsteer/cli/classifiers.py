"""``guardsteer classifiers``: train one, evaluate it, export an encoder to read with, show a card."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from guardsteer.cli import classifiers_eval, classifiers_export, classifiers_train, frame

if TYPE_CHECKING:
    from guardsteer.assets import Catalog
    from guardsteer.classify.files.card import Card

__all__ = ["register", "run"]

_SENTENCE = re.compile(r"(?<=[.?!])\s")
_LONGEST = 88


def register(subparsers: frame.Subparsers) -> None:
    """Add ``classifiers`` and its actions."""
    summary = "train, evaluate and show classifiers of text"
    parser = subparsers.add_parser("classifiers", help=summary, description="Work with classifiers of text.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    classifiers_train.add(actions)
    classifiers_eval.add(actions)
    classifiers_export.add(actions)
    show = frame.add_command(
        actions,
        "show",
        "print what a classifier is and how well it does, or list all",
        "guardsteer classifiers show hostility",
    )
    show.add_argument("classifier", metavar="NAME", nargs="?", help="a catalogue name or a folder; none: all")


def run(args: argparse.Namespace) -> int:
    """Run the action. Mistakes leave as ``GuardsteerError``."""
    if args.action == "train":
        return classifiers_train.run(args)
    if args.action == "export":
        return classifiers_export.run(args)
    return classifiers_eval.run(args) if args.action == "eval" else _show(args)


def _show(args: argparse.Namespace) -> int:
    return _list(args) if args.classifier is None else _show_one(args)


def _list(args: argparse.Namespace) -> int:
    from guardsteer.assets import Catalog
    from guardsteer.classify.files.card import read_card

    catalog = Catalog()
    folders = [catalog.find("classifiers", name) for name in catalog.names("classifiers")]
    cards = [(card := read_card(folder), _encoders(folder, card, catalog)) for folder in folders]
    if args.json:
        listed = [
            {"name": card.name, "kind": card.kind, "description": card.description, "encoders": names}
            for card, names in cards
        ]
        frame.emit({"ok": True, "classifiers": listed})
        return 0
    width = max((len(card.name) for card, _ in cards), default=0)
    kinds = max((len(card.kind) for card, _ in cards), default=0)
    for card, names in cards:
        first = shorten(_SENTENCE.split(card.description, maxsplit=1)[0], _LONGEST, placeholder=" …")
        print(f"{card.name:<{width}}  {card.kind:<{kinds}}  {first}")
        if names:
            needs = f"needs the encoder {', '.join(names)}, which you export: classifiers export --help"
            print(f"{'':<{width}}  {'':<{kinds}}  {needs}")
    return 0


def _encoders(folder: Path, card: Card, catalog: Catalog) -> list[str]:
    from guardsteer.classify.encoder_needs import encoders_of

    return [f"{each.name} ({each.precision})" for each in encoders_of(folder, card, catalog)]


def _show_one(args: argparse.Namespace) -> int:
    from guardsteer.classify.files.card import read_card
    from guardsteer.lab.classifiers.eval_file import plain_evaluation, read_evaluation
    from guardsteer.lab.classifiers.readme import readme_of

    folder = classifiers_eval.folder_of(args.classifier)
    if args.json:
        evaluation = read_evaluation(folder)
        told = None if evaluation is None else plain_evaluation(evaluation)
        frame.emit({"ok": True, "card": read_card(folder).model_dump(mode="json"), "evaluation": told})
        return 0
    print(readme_of(folder), end="")
    return 0
