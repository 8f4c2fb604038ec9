"""CLINC150: queries to an assistant, 150 intents of ten domains, some out of scope (Larson et al., 2019)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, refuse

__all__ = ["CLINC150"]

_OUT_OF_SCOPE = "oos"


def _read(folder: Path) -> Iterator[Labelled]:
    data, domains = folder / "clinc150.json", folder / "domains.json"
    try:
        parts = json.loads(data.read_text(encoding="utf-8"))
        named = json.loads(domains.read_text(encoding="utf-8"))
        domain_of = {intent: domain for domain, intents in named.items() for intent in intents}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        refuse(data, f"cannot be read: {error}")
    if not isinstance(parts, dict):
        refuse(data, f"must hold the parts of the set by name, got {type(parts).__name__}")
    for part, rows in parts.items():
        for place, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
            if not (isinstance(row, list) and len(row) == 2 and all(isinstance(each, str) for each in row)):
                refuse(data, f"entry {place} of {part!r} is no pair of a text and an intent")
            text, intent = row
            domain = domain_of.get(intent, _OUT_OF_SCOPE)
            yield Labelled(text, (intent, domain), domain)


CLINC150 = Source(
    "clinc150",
    "clinc150",
    "CC-BY-3.0",
    "CLINC150, Larson et al. (2019), clinc/oos-eval, CC-BY-3.0",
    _read,
)
