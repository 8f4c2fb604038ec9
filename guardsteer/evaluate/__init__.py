"""Judging what a guard did: shares and means with intervals, perplexity, sentiment, and the audit's answers.

No torch until a perplexity is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardsteer.evaluate.intervals import Estimate, bootstrap, mean_interval, wilson

if TYPE_CHECKING:
    from guardsteer.evaluate.likelihood import ReplyLoss, batch_losses, perplexity, reply_losses

__all__ = [
    "Estimate",
    "ReplyLoss",
    "batch_losses",
    "bootstrap",
    "mean_interval",
    "perplexity",
    "reply_losses",
    "wilson",
]

_LAZY = ("ReplyLoss", "batch_losses", "perplexity", "reply_losses")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("guardsteer.evaluate.likelihood"), name)
