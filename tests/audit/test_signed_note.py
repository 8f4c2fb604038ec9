"""Signed notes are those that other tools write and check."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit.signed_note import (
    SignedNote,
    decode_base64,
    key_id,
    parse_note,
    public_bytes,
    sign_note,
    verifier_key,
)

# The example of Go's golang.org/x/mod/sumdb/note, made by its own code.
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    f"{TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotp"
    "RZb6KE6RyyBwJnAM=\n"
)
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def public_of(verifier: str) -> bytes:
    data = decode_base64(verifier.split("+", 2)[2])
    assert data is not None
    return data[1:]


def test_a_note_that_go_signed_is_read_and_holds() -> None:
    note = parse_note(GO_NOTE.encode())
    assert note is not None
    assert note.text == TEXT
    assert note.signed_by("PeterNeumann", public_of(GO_KEY))
    assert verifier_key("PeterNeumann", public_of(GO_KEY)) == GO_KEY
    assert key_id("PeterNeumann", public_of(GO_KEY)).hex() == "c74f20a3"


def test_a_note_that_is_signed_here_holds_for_its_key_and_name_alone() -> None:
    data = sign_note("a\nb\n", "log", KEY)
    note = parse_note(data)
    assert note is not None
    assert note.encode() == data
    assert note.signed_by("log", public_bytes(KEY))
    assert not note.signed_by("log", public_of(GO_KEY))
    assert not note.signed_by("other", public_bytes(KEY))
    assert not SignedNote("a\nc\n", note.signatures).signed_by("log", public_bytes(KEY))


def test_signatures_of_several_stand_one_below_the_other() -> None:
    other = Ed25519PrivateKey.generate()
    first, second = (parse_note(sign_note("a\n", name, key)) for name, key in (("log", KEY), ("w", other)))
    assert first is not None
    assert second is not None
    both = parse_note(SignedNote("a\n", first.signatures + second.signatures).encode())
    assert both is not None
    assert both.signed_by("log", public_bytes(KEY))
    assert both.signed_by("w", public_bytes(other))


@given(st.data())
def test_a_note_with_any_byte_changed_no_longer_holds(data: st.DataObject) -> None:
    content = bytearray(sign_note("a\nb\n", "log", KEY))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    note = parse_note(bytes(content))
    assert note is None or not note.signed_by("log", public_bytes(KEY))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_makes_reading_a_note_crash(data: bytes) -> None:
    note = parse_note(data)
    assert note is None or note.encode() == data


@pytest.mark.parametrize("text", ["QQ", "QR==", "Q===", "QQ==\n", "Ä", "Q Q=="])
def test_base64_that_could_be_written_in_another_way_is_refused(text: str) -> None:
    assert decode_base64("QQ==") == b"A"
    assert decode_base64(text) is None
