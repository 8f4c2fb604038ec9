"""Runtime guardrails for causal language models: classify every step, steer by policy, audit all of it.

Importing this package loads neither torch nor transformers; the names below load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardsteer import errors
    from guardsteer.rules import load_policy
    from guardsteer.runtime import wrap

__all__ = ["__version__", "errors", "load_policy", "wrap"]

__version__ = "0.1.0"

_HOMES = {"load_policy": "guardsteer.rules", "wrap": "guardsteer.runtime"}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that ``import guardsteer`` stays light."""
    if name == "errors":
        return import_module("guardsteer.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'guardsteer' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names beside what is loaded."""
    return sorted({*globals(), *__all__})
