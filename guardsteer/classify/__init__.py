"""Classifiers: patterns, linear models of text, probes of hidden states. No torch until a probe is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardsteer.classify.linear import LinearClassifier
    from guardsteer.classify.load import load_classifier, load_folder, outputs_of
    from guardsteer.classify.patterns import PatternClassifier
    from guardsteer.classify.probe import Probe

__all__ = ["LinearClassifier", "PatternClassifier", "Probe", "load_classifier", "load_folder", "outputs_of"]

_HOMES = {
    "LinearClassifier": "linear",
    "PatternClassifier": "patterns",
    "Probe": "probe",
    "load_classifier": "load",
    "load_folder": "load",
    "outputs_of": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
