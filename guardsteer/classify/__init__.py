"""Classifiers, one backend a module, all with one protocol. No torch until a probe is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardsteer.classify.callables import from_callable, from_states
    from guardsteer.classify.combined.combination import CombinationClassifier, combine
    from guardsteer.classify.load import load_classifier, load_folder, outputs_of
    from guardsteer.classify.patterns import PatternClassifier
    from guardsteer.classify.probe import Probe
    from guardsteer.classify.words.linear import LinearClassifier

__all__ = [
    "CombinationClassifier",
    "LinearClassifier",
    "PatternClassifier",
    "Probe",
    "combine",
    "from_callable",
    "from_states",
    "load_classifier",
    "load_folder",
    "outputs_of",
]

_HOMES = {
    "CombinationClassifier": "combined.combination",
    "LinearClassifier": "words.linear",
    "PatternClassifier": "patterns",
    "Probe": "probe",
    "combine": "combined.combination",
    "from_callable": "callables",
    "from_states": "callables",
    "load_classifier": "load",
    "load_folder": "load",
    "outputs_of": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
