"""The hash equals scikit-learn's, however the data is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import murmurhash3_32

from guardsteer.classify.words.murmur import NOTHING, feed, finish, murmur


@given(data=st.binary(max_size=40))
def test_it_equals_scikit_learns(data: bytes) -> None:
    assert murmur(data) == murmurhash3_32(data, seed=0, positive=False)


@given(pieces=st.lists(st.binary(max_size=9), max_size=9))
def test_pieces_hash_as_the_whole(pieces: list[bytes]) -> None:
    state = NOTHING
    for piece in pieces:
        state = feed(state, piece)
    assert finish(state) == murmur(b"".join(pieces))
