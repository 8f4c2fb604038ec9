"""Where classifiers read that are too slow for every token: by the text that a policy gives them to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from guardsteer.classify.combined.combination import CombinationClassifier
from guardsteer.classify.pace.opening import OpeningClassifier
from guardsteer.classify.pace.schedule import Schedule, parse_schedule
from guardsteer.core.digests import digest_json
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import ClassifierError

__all__ = ["placed"]

C = TypeVar("C")
_Change: TypeAlias = Callable[[Schedule], Schedule]


def placed(spec: ClassifierSpec, classifier: C) -> C:
    """Return ``classifier`` with its readings where ``spec`` has them; itself where it has no schedule.

    A prompt is read whole, at its end, and so is one that a generation follows; a generation by
    ``spec.read``, by the card's schedule where that is None. What a combination is made of is placed
    likewise. Raises ``ClassifierError`` where ``spec.read`` is given and nothing here has a schedule.
    """
    wanted = None if spec.read is None else parse_schedule(spec.read)

    def change(own: Schedule) -> Schedule:
        if spec.on in ("prompt", "user"):
            return Schedule("prompt")
        return (wanted or own).begun_with(opening=spec.on == "all")

    found: C = _changed(classifier, change)
    if wanted is not None and found is classifier and not _scheduled(classifier):
        raise ClassifierError(
            f"classifier {spec.name!r}: 'read' says when a slow classifier reads, and this one follows every "
            "token at little cost; remove it"
        )
    return found


def _scheduled(classifier: Any) -> bool:
    if isinstance(classifier, OpeningClassifier):
        return _scheduled(classifier.classifier)
    if isinstance(classifier, CombinationClassifier):
        return any(map(_scheduled, classifier.readers))
    return hasattr(classifier, "read_at")


def _changed(classifier: Any, change: _Change) -> Any:
    if isinstance(classifier, OpeningClassifier):
        inner = _changed(classifier.classifier, change)
        return classifier if inner is classifier.classifier else OpeningClassifier(inner, classifier.words)
    if isinstance(classifier, CombinationClassifier):
        return _combination(classifier, change)
    if not hasattr(classifier, "read_at"):
        return classifier
    schedule = change(classifier.schedule)
    return classifier if schedule == classifier.schedule else classifier.read_at(schedule)


def _combination(classifier: CombinationClassifier, change: _Change) -> CombinationClassifier:
    # By identity: a classifier that is a member twice goes on to read once.
    changed = {id(each): _changed(each, change) for each in classifier.readers}
    if all(changed[id(each)] is each for each in classifier.readers):
        return classifier
    members = {name: changed[id(each)] for name, each in classifier.members.items()}
    digest = digest_json([classifier.digest, *(each.digest for each in members.values())])
    return CombinationClassifier(members, classifier.blend, outputs=classifier.outputs, digest=digest)
