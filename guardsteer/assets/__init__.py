"""Where classifiers, policies and vectors are found by name. No torch."""

from __future__ import annotations

from guardsteer.assets.catalog import KINDS, Catalog, Kind, find_policy, resolve

__all__ = ["KINDS", "Catalog", "Kind", "find_policy", "resolve"]
