"""Sentiment by VADER (Hutto and Gilbert, 2014): a word list with rules, no model; English only."""

from __future__ import annotations

from collections.abc import Iterable

from guardsteer.errors import AssetError

__all__ = ["compounds"]


def compounds(texts: Iterable[str]) -> list[float]:
    """Return the compound sentiment of each text, from -1 (bad) over 0 (neither) to 1 (good).

    Raises ``AssetError`` where the package vaderSentiment is not installed.
    """
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise AssetError(
            "sentiment needs the package vaderSentiment: pip install 'guardsteer[examples]'"
        ) from error
    analyzer = SentimentIntensityAnalyzer()
    return [float(analyzer.polarity_scores(text)["compound"]) for text in texts]
