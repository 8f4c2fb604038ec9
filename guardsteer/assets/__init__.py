"""Where classifiers, policies and vectors are found by name. No torch."""

from __future__ import annotations

from guardsteer.assets.catalog import KINDS, Catalog, Kind, find_policy, is_path, resolve
from guardsteer.assets.homes import home_key, homes

__all__ = ["KINDS", "Catalog", "Kind", "find_policy", "home_key", "homes", "is_path", "resolve"]
