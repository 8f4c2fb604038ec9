"""The policy language: YAML to a checked policy, a policy to a program, a program to a plan at every step."""

from __future__ import annotations

from guardsteer.rules.loading import check, load_policy, parse_policy

__all__ = ["check", "load_policy", "parse_policy"]
