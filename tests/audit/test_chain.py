"""The layout of the log as pure functions."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit.chain import (
    ZERO_HASH,
    Head,
    decode_head,
    encode_head,
    link,
    new_stream_name,
    parse_anchor,
    parse_name,
    seal,
    segment_name,
    sequence_number,
    split_line,
)

STREAM = "20260101T000000Z-77-0123abcd"

bodies = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), min_size=1, max_size=3).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ),
    max_size=8,
)
heads = st.builds(
    Head,
    st.just(STREAM),
    st.integers(0, 10**20 - 1),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)


@given(bodies, st.integers(0, 10**12))
def test_sealed_lines_split_into_payload_and_hash_and_chain_from_one_to_the_next(
    values: list[bytes], first: int
) -> None:
    data, following, last = seal(values, first, ZERO_HASH)
    previous = ZERO_HASH
    lines = data.splitlines(keepends=True) if b"\r" not in data else data.split(b"\n")
    assert following == first + len(values)
    for seq, line in enumerate(line for line in lines if line):
        parts = split_line(line if line.endswith(b"\n") else line + b"\n")
        assert parts is not None
        assert sequence_number(parts[0]) == first + seq
        assert link(previous, parts[0]) == parts[1]
        previous = parts[1]
    assert previous == last


def test_a_line_is_a_json_object_whose_hash_anyone_can_recompute() -> None:
    data, _, last = seal([b'{"kind":"x","n":1}'], 7, ZERO_HASH)
    value = json.loads(data)
    assert (value["seq"], value["kind"], value["n"]) == (7, "x", 1)
    assert value["hash"] == last.decode()
    assert value["hash"] == sha256(b"0" * 64 + b'{"seq":7,"kind":"x","n":1').hexdigest()


@given(bodies.filter(bool), st.data())
def test_sealing_in_two_parts_gives_the_bytes_of_sealing_at_once(
    values: list[bytes], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    first, seq, last = seal(values[:cut], 0, ZERO_HASH)
    second, _, _ = seal(values[cut:], seq, last)
    assert first + second == seal(values, 0, ZERO_HASH)[0]


@given(heads)
def test_a_head_reads_back_and_has_one_length(head: Head) -> None:
    data = encode_head(head)
    assert decode_head(data) == head
    assert len(data) == len(encode_head(Head(STREAM, 0, "0" * 64)))
    assert len(data) < 512


@given(heads, st.data())
def test_a_head_with_any_byte_changed_is_refused(head: Head, data: st.DataObject) -> None:
    content = bytearray(encode_head(head))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert decode_head(bytes(content)) is None


@given(st.binary(max_size=300))
def test_no_content_makes_reading_a_head_or_a_line_crash(data: bytes) -> None:
    assert decode_head(data) is None
    if parts := split_line(data):
        sequence_number(parts[0])


@given(heads)
def test_the_text_of_a_head_is_an_anchor(head: Head) -> None:
    assert parse_anchor(str(head)) == head


def test_names_of_streams_segments_and_heads_read_back() -> None:
    stream = new_stream_name()
    assert parse_name(segment_name(stream, 3)) == (stream, 3)
    assert parse_name(f"{stream}.head") == (stream, 0)
    assert segment_name(stream, 10**6).endswith(".1000000.jsonl")
    assert parse_name(segment_name(stream, 10**6)) == (stream, 10**6)


@pytest.mark.parametrize(
    "name", ["x.jsonl", f"{STREAM}.000000.jsonl", f"{STREAM}.0000001.jsonl", f"{STREAM}.000001.jsonl.bak", ""]
)
def test_any_other_name_belongs_to_no_stream(name: str) -> None:
    assert parse_name(name) is None


def test_two_streams_of_one_process_have_two_names() -> None:
    assert len({new_stream_name() for _ in range(100)}) == 100
