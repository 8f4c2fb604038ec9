"""``evaluation.json`` beside a classifier's card: what it is worth, for machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from guardsteer.classify.files.card import CARD_FILE
from guardsteer.core.digests import digest_bytes
from guardsteer.errors import ClassifierError, Problem
from guardsteer.lab.classifiers.evaluate import Evaluation

__all__ = ["EVALUATION_FILE", "plain_evaluation", "read_evaluation", "write_evaluation"]

EVALUATION_FILE = "evaluation.json"

_FORMAT = "guardsteer.evaluation/1"
_DIGITS = 6
_EVALUATION = TypeAdapter(Evaluation)


def plain_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON's values, figures to six digits."""
    found: dict[str, Any] = _rounded(_EVALUATION.dump_python(evaluation, mode="json"))
    return found


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write the evaluation of the classifier in ``folder``, bound to its card by digest."""
    value = {
        "format": _FORMAT,
        "card": digest_bytes((folder / CARD_FILE).read_bytes()),
        **plain_evaluation(evaluation),
    }
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"
    (folder / EVALUATION_FILE).write_text(text, encoding="utf-8")


def read_evaluation(folder: Path) -> Evaluation | None:
    """Return the evaluation beside a classifier's card, None where there is none.

    Raises ``ClassifierError`` where it is damaged or is that of another card.
    """
    path = folder / EVALUATION_FILE
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        form, card = value.pop("format"), value.pop("card")
        found = _EVALUATION.validate_python(value)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        message = f"cannot be read: {str(error).splitlines()[0]}"
        raise ClassifierError([Problem(str(path), 0, 0, message, "evaluate the classifier again")]) from error
    if form != _FORMAT or card != digest_bytes((folder / CARD_FILE).read_bytes()):
        raise ClassifierError(
            [Problem(str(path), 0, 0, "is that of another card", "evaluate the classifier again")]
        )
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
