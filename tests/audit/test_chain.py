"""The layout of the log as pure functions."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit.chain import (
    ZERO_HASH,
    chain,
    checkpoint_name,
    link,
    new_stream_name,
    parse_name,
    segment_name,
    sequence_number,
    split_line,
)
from guardsteer.audit.merkle import leaf_hash

STREAM = "20260101T000000Z-77-0123abcd"

bodies = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), min_size=1, max_size=3).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ),
    max_size=8,
)


@given(bodies, st.integers(0, 10**12))
def test_chained_lines_split_into_payload_and_hash_and_follow_one_another(
    values: list[bytes], first: int
) -> None:
    chained = chain(values, first, ZERO_HASH)
    previous = ZERO_HASH
    lines = [line + b"\n" for line in chained.data.split(b"\n")[:-1]]
    assert chained.following == first + len(values) == first + len(lines)
    assert chained.leaves == tuple(leaf_hash(line[:-1]) for line in lines)
    for seq, line in enumerate(lines):
        parts = split_line(line)
        assert parts is not None
        assert sequence_number(parts[0]) == first + seq
        assert link(previous, parts[0]) == parts[1]
        previous = parts[1]
    assert previous == chained.hash


def test_a_line_is_a_json_object_whose_hash_anyone_can_recompute() -> None:
    chained = chain([b'{"kind":"x","n":1}'], 7, ZERO_HASH)
    value = json.loads(chained.data)
    assert (value["seq"], value["kind"], value["n"]) == (7, "x", 1)
    assert value["hash"] == chained.hash.decode()
    assert value["hash"] == sha256(b"0" * 64 + b'{"seq":7,"kind":"x","n":1').hexdigest()


@given(bodies.filter(bool), st.data())
def test_chaining_in_two_parts_gives_the_bytes_of_chaining_at_once(
    values: list[bytes], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    first = chain(values[:cut], 0, ZERO_HASH)
    second = chain(values[cut:], first.following, first.hash)
    assert first.data + second.data == chain(values, 0, ZERO_HASH).data


@given(st.binary(max_size=300))
def test_no_content_makes_reading_a_line_crash(data: bytes) -> None:
    if parts := split_line(data):
        sequence_number(parts[0])


def test_names_of_streams_segments_and_checkpoints_read_back() -> None:
    stream = new_stream_name()
    assert parse_name(segment_name(stream, 3)) == (stream, 3)
    assert parse_name(checkpoint_name(stream)) == (stream, 0)
    assert segment_name(stream, 10**6).endswith(".1000000.jsonl")
    assert parse_name(segment_name(stream, 10**6)) == (stream, 10**6)


@pytest.mark.parametrize(
    "name", ["x.jsonl", f"{STREAM}.000000.jsonl", f"{STREAM}.0000001.jsonl", f"{STREAM}.000001.jsonl.bak", ""]
)
def test_any_other_name_belongs_to_no_stream(name: str) -> None:
    assert parse_name(name) is None


def test_two_streams_of_one_process_have_two_names() -> None:
    assert len({new_stream_name() for _ in range(100)}) == 100
