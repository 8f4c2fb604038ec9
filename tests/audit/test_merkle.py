"""The tree over a stream's lines is the one of RFC 6962, however it is put together."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit.merkle import EMPTY_ROOT, Range, leaf_hash

# Leaves and roots of the reference tests of Certificate Transparency.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def reference(lines: list[bytes]) -> bytes:
    """Return the root as RFC 6962 defines it."""
    if not lines:
        return sha256(b"").digest()
    if len(lines) == 1:
        return sha256(b"\0" + lines[0]).digest()
    half = 1
    while half * 2 < len(lines):
        half *= 2
    return sha256(b"\1" + reference(lines[:half]) + reference(lines[half:])).digest()


def tree_of(lines: list[bytes], begin: int = 0) -> Range:
    tree = Range(begin)
    for line in lines:
        tree.append(leaf_hash(line))
    return tree


@pytest.mark.parametrize("count", range(1, 9))
def test_the_roots_are_those_of_certificate_transparency(count: int) -> None:
    tree = tree_of([bytes.fromhex(leaf) for leaf in LEAVES[:count]])
    assert tree.root().hex() == ROOTS[count - 1]


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_root_is_the_one_that_the_definition_gives(lines: list[bytes]) -> None:
    assert tree_of(lines).root() == reference(lines)


@given(st.lists(st.binary(max_size=4), max_size=70), st.lists(st.integers(0, 70), max_size=4))
def test_ranges_hashed_apart_join_into_the_tree_of_the_whole(lines: list[bytes], cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(lines)) for cut in cuts), len(lines)]
    whole = Range()
    for begin, end in pairwise(places):
        whole.join(tree_of(lines[begin:end], begin))
    assert whole.end == len(lines)
    assert whole.root() == reference(lines)
    assert whole.nodes == tree_of(lines).nodes


def test_a_copy_grows_apart() -> None:
    tree = tree_of([b"a", b"b"])
    other = tree.copy()
    other.append(leaf_hash(b"c"))
    assert (tree.end, other.end) == (2, 3)
    assert tree.root() == reference([b"a", b"b"])


def test_a_tree_of_nothing_has_the_root_of_nothing() -> None:
    assert Range().root() == EMPTY_ROOT == reference([])


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="does not follow"):
        tree_of([b"a"]).join(tree_of([b"b"], 2))
    with pytest.raises(ValueError, match="missing"):
        tree_of([b"b"], 1).root()
