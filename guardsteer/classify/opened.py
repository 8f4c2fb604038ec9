"""Classifiers that read by a schedule, made to read a prompt to its end."""

from __future__ import annotations

from typing import Any

from guardsteer.classify.combination import CombinationClassifier
from guardsteer.classify.opening import OpeningClassifier
from guardsteer.core.policy import Scope

__all__ = ["opened"]


def opened(classifier: Any, scope: Scope) -> Any:
    """Return ``classifier`` for texts of a scope: where a prompt comes first, it is read wherever it ends.

    What reads at every token, and what reads the generation alone, comes back as it is.
    """
    return classifier if scope == "generation" else _opened(classifier, {})


def _opened(classifier: Any, made: dict[int, Any]) -> Any:
    if id(classifier) in made:
        return made[id(classifier)]
    found = classifier
    if isinstance(classifier, CombinationClassifier):
        members = {name: _opened(member, made) for name, member in classifier.members.items()}
        if any(members[name] is not member for name, member in classifier.members.items()):
            found = CombinationClassifier(
                members, classifier.blend, outputs=classifier.outputs, digest=classifier.digest
            )
    elif isinstance(classifier, OpeningClassifier):
        inner = _opened(classifier.classifier, made)
        found = classifier if inner is classifier.classifier else OpeningClassifier(inner, classifier.words)
    elif hasattr(classifier, "read_at") and not classifier.schedule.opening:
        found = classifier.read_at(classifier.schedule.begun_with(opening=True))
    made[id(classifier)] = found
    return found
