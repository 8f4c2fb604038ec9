"""Sentiment has the right sign, and its absence is told."""

from __future__ import annotations

import sys

import pytest

from guardsteer.errors import AssetError
from guardsteer.evaluate.vader import compounds


def test_kind_words_count_above_plain_ones_and_these_above_cruel_ones() -> None:
    pytest.importorskip("vaderSentiment", reason="needs vaderSentiment: pip install 'guardsteer[examples]'")
    kind, plain, cruel = compounds(["I love you, you are wonderful!", "The table is here.", "I hate you."])
    assert -1 <= cruel < plain == 0 < kind <= 1


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(AssetError, match=r"guardsteer\[examples\]"):
        compounds(["hello"])
