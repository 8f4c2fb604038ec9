"""A rule that routes becomes one rule for each of its routes; here is how these are named and read."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["OTHERWISE", "base_of", "key_of", "routed_condition", "routed_id"]

OTHERWISE = "otherwise"


def routed_id(rule: str, key: str) -> str:
    """Return the id of the rule for the route ``key``, a flag or ``otherwise``."""
    return f"{rule}/{key}"


def base_of(rule_id: str) -> str:
    """Return the id as the file has it."""
    return rule_id.partition("/")[0]


def key_of(rule_id: str) -> str:
    """Return the key of the route that became this rule, "" for a rule of the file."""
    return rule_id.partition("/")[2]


def routed_condition(when: str, keys: Sequence[str], key: str) -> str:
    """Return the condition of the route ``key``: ``when``, its flag, and none of the flags before it."""
    before = keys[: keys.index(key)]
    parts = [] if when.strip() == "true" else [f"({when})"]
    parts += [] if key == OTHERWISE else [key]
    return " && ".join(parts + [f"!{flag}" for flag in before])
