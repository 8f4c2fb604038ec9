"""Nothing that ships takes a model's refusal away: the direction is there to be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.assets import Catalog, resolve
from guardsteer.core.policy import SteerSpec
from guardsteer.rules import load_policy

ROOT = Path(__file__).resolve().parents[2]
POLICIES = sorted(path.parent for path in ROOT.glob("policies/*/policy.yaml"))


def _methods(use: str, base: Path) -> set[str]:
    """Return the methods on the cards of a vector that ships, for whatever models it was made."""
    folder = resolve("vectors", use, base, Catalog())
    return {json.loads(path.read_text())["method"] for path in folder.glob("artifacts/*/*.json")}


@pytest.mark.parametrize("folder", POLICIES, ids=lambda folder: folder.name)
def test_no_shipped_policy_weakens_refusal(folder: Path) -> None:
    policy = load_policy(folder)
    refusing = {
        vector.name
        for vector in policy.vectors
        if "refus" in vector.use or "refusal_direction" in _methods(vector.use, folder)
    }
    weakening = {
        steer.vector
        for rule in policy.rules
        for steer in rule.steer
        if isinstance(steer, SteerSpec) and steer.operator != "add"
    }
    assert not refusing & weakening


def test_no_vector_that_ships_is_a_refusal_direction() -> None:
    cards = [json.loads(path.read_text()) for path in ROOT.glob("vectors/*/artifacts/*/*.json")]
    methods = [card["method"] for card in cards if card.get("format") == "guardsteer.vector/1"]
    assert methods
    assert "refusal_direction" not in methods
