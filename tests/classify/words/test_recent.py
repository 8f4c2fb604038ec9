"""A bounded cache keeps what was asked for recently."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardsteer.classify.words.recent import Recent


@given(keys=st.lists(st.integers(0, 12), max_size=80), limit=st.integers(1, 4))
def test_what_was_asked_for_among_the_last_few_keys_is_kept(keys: list[int], limit: int) -> None:
    """Among as many different ones as there is room for, in one dictionary for good, within the bound."""
    recent: Recent[int, str] = Recent(limit)
    young = recent.young
    for place, key in enumerate(keys):
        found = recent.young.get(key) or recent.older(key)
        lately = list(dict.fromkeys(reversed(keys[:place])))[:limit]
        assert found == str(key) if key in lately else found in (None, str(key))
        if found is None:
            recent.put(key, str(key))
        assert recent.young is young
        assert recent.young[key] == str(key)
        assert len(recent.young) <= limit
        assert len(recent) <= 2 * limit
