"""Figures as reports show them, read from the JSON of what was measured: fields that are not known are shown,
fields that are missing are left out, so that a report outlives the version that wrote its JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from guardsteer.pages.charts import Dot

__all__ = [
    "Data",
    "dot",
    "estimates",
    "figure",
    "is_estimate",
    "named",
    "place",
    "push_of",
    "short",
    "strength_of",
    "titled",
    "value_of",
]

Data: TypeAlias = Mapping[str, Any]
"""An object of JSON."""

_NAMES = {
    "goal": "metric",
    "perplexity_ratio": "perplexity ratio",
    "repetition_rise": "repetition",
    "length_ratio": "length",
    "kl_nats": "off-target KL",
    "cohens_d": "Cohen d",
    "last_prompt_token": "last prompt token",
    "generated": "generated",
}
_FORMS = {"perplexity_ratio": ".2f", "length_ratio": ".2f", "kl_nats": ".3f", "goal": ".3f"}


def is_estimate(value: Any) -> bool:
    """Tell whether a value of JSON is a figure with an interval."""
    return isinstance(value, Mapping) and all(
        isinstance(value.get(end), int | float) for end in ("value", "low", "high")
    )


def estimates(found: Data) -> Iterator[tuple[str, Data]]:
    """Yield the name and value of each figure with an interval, in the order of the JSON."""
    for name, value in found.items():
        if is_estimate(value):
            yield name, value


def named(key: str) -> str:
    """Return what a field is called on a page."""
    return _NAMES.get(key, key.replace("_", " "))


def titled(text: str) -> str:
    """Return text with a capital at its beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def figure(found: Any, key: str = "", form: str = "") -> str:
    """Return a figure with its interval, empty where there is none."""
    if not is_estimate(found):
        return ""
    form = form or _FORMS.get(key, "+.3f")
    return f"{found['value']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def short(found: Any, key: str = "", form: str = "") -> str:
    """Return a figure without its interval, empty where there is none."""
    return f"{found['value']:{form or _FORMS.get(key, '+.3f')}}" if is_estimate(found) else ""


def value_of(found: Any) -> float:
    """Return the value of a figure, 0 where there is none."""
    return float(found["value"]) if is_estimate(found) else 0.0


def dot(x: float, found: Any) -> Dot | None:
    """Return a figure at ``x`` of a chart, None where there is none."""
    return Dot(x, found["value"], found["low"], found["high"]) if is_estimate(found) else None


def push_of(found: Data) -> Data:
    """Return how a measured push was made."""
    push: Data = found.get("push") or {}
    return push


def strength_of(found: Data) -> float:
    """Return the strength of a measured push without its sign."""
    return abs(float(push_of(found).get("strength", 0.0)))


def place(positions: Sequence[str]) -> str:
    """Return positions in words."""
    return " + ".join(named(each) for each in positions)
