"""A rule that routes becomes one rule for each of its routes; here is how these are named and read."""

from __future__ import annotations

from collections.abc import Sequence

from guardsteer.core.policy import Policy
from guardsteer.rules.access import child_of, entries_of, many_of, text_of
from guardsteer.rules.document import Node

__all__ = ["OTHERWISE", "base_of", "key_of", "loc_in_file", "routed_condition", "routed_id"]

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


def loc_in_file(
    policy: Policy, root: Node, loc: Sequence[int | str], offset: int = 0
) -> tuple[Sequence[int | str], int]:
    """Return where in the file ``root`` is what stands at ``loc`` in a policy whose routes are rules.

    ``offset`` counts characters of the text at ``loc``, and so does the second value. What a route adds to
    the condition is at its key, its steering in its profile.
    """
    if len(loc) < 2 or loc[0] != "rules" or not isinstance(loc[1], int):
        return loc, offset
    rule = policy.rules[loc[1]]
    nodes = many_of(child_of(root, "rules"))
    ids = [node.text if node is not None else "" for node in (text_of(child_of(n, "id")) for n in nodes)]
    place = ids.index(base_of(rule.id)) if base_of(rule.id) in ids else loc[1]
    key = key_of(rule.id)
    if not key:
        return ("rules", place, *loc[2:]), offset
    when = text_of(child_of(nodes[place], "when"))
    route = entries_of(nodes[place], "route").get(key)
    profile = text_of(route.node) if route is not None else None
    if len(loc) > 2 and loc[2] == "when" and when is not None and rule.when.startswith(f"({when.value})"):
        if offset <= len(str(when.value)):
            return ("rules", place, "when"), max(offset - 1, 0)
    elif len(loc) > 2 and loc[2] != "when" and profile is not None:
        return ("profiles", profile.text, *loc[2:]), offset
    return ("rules", place, "route", key), 0
