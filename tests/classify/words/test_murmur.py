"""The hash equals scikit-learn's, however the data is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import murmurhash3_32

from guardsteer.classify.words.murmur import NOTHING, feed, finish, murmur
from tests.classify.models import kernel_named


@pytest.mark.parametrize("name", ["python", "compiled"])
@given(data=st.binary(max_size=40))
def test_it_equals_scikit_learns(name: str, data: bytes) -> None:
    assert kernel_named(name).murmur(data) == murmurhash3_32(data, seed=0, positive=False)


def test_the_compiled_one_takes_bytes_alone() -> None:
    with pytest.raises(TypeError):
        kernel_named("compiled").murmur("text")  # type: ignore[arg-type]  # that is the point


@given(pieces=st.lists(st.binary(max_size=9), max_size=9))
def test_pieces_hash_as_the_whole(pieces: list[bytes]) -> None:
    state = NOTHING
    for piece in pieces:
        state = feed(state, piece)
    assert finish(state) == murmur(b"".join(pieces))
