"""Judging what a guarded model wrote: shares and means with intervals, perplexity, sentiment."""

from __future__ import annotations

from guardsteer.evaluate.intervals import Estimate, bootstrap, mean_interval, wilson
from guardsteer.evaluate.perplexity import ReplyLoss, perplexity, reply_losses

__all__ = ["Estimate", "ReplyLoss", "bootstrap", "mean_interval", "perplexity", "reply_losses", "wilson"]
