"""Checkpoints as text: one way to write each, and none of another form is read."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit.checkpoint import Checkpoint, origin, parse_checkpoint, parse_checkpoints
from guardsteer.audit.signed_note import public_bytes, sign_note

STREAM = "20260101T000000Z-77-0123abcd"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

checkpoints = st.builds(
    Checkpoint,
    st.just(STREAM),
    st.integers(0, 10**19 - 1),
    st.binary(min_size=32, max_size=32),
    st.just(b"") | st.binary(min_size=32, max_size=32),
)


@given(checkpoints)
def test_a_signed_checkpoint_reads_back_and_fits_into_one_sector(checkpoint: Checkpoint) -> None:
    data = checkpoint.signed(KEY)
    signed = parse_checkpoint(data)
    assert signed is not None
    assert signed.checkpoint == checkpoint
    assert signed.signed_by(public_bytes(KEY))
    assert not signed.signed_by(public_bytes(Ed25519PrivateKey.generate()))
    assert len(data) < 512


def test_the_text_has_origin_size_and_root_in_lines_of_their_own() -> None:
    text = Checkpoint(STREAM, 12, bytes(32)).text()
    assert text == f"guardsteer-audit/{STREAM}\n12\n{'A' * 43}=\n"


def test_a_longer_stream_never_has_a_shorter_checkpoint() -> None:
    sizes = [len(Checkpoint(STREAM, lines, bytes(32)).signed(KEY)) for lines in (0, 9, 10, 99, 100, 10**12)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    "text",
    [
        f"guardsteer-audit/{STREAM}\n012\n{'A' * 43}=\n",
        f"guardsteer-audit/{STREAM}\n-1\n{'A' * 43}=\n",
        f"guardsteer-audit/{STREAM}\n1\n{'A' * 42}B=\n",
        f"guardsteer-audit/{STREAM}\n1\n{'A' * 43}=\nmore\n",
        f"guardsteer-audit/{STREAM}x\n1\n{'A' * 43}=\n",
        f"another-log/{STREAM}\n1\n{'A' * 43}=\n",
        f"guardsteer-audit/{STREAM}\n1\n",
    ],
)
def test_a_signed_text_of_another_form_is_no_checkpoint(text: str) -> None:
    assert parse_checkpoint(sign_note(text, origin(STREAM), KEY)) is None


@given(st.lists(checkpoints, min_size=1, max_size=4), st.integers(0, 3))
def test_a_file_may_hold_several_one_after_the_other(wanted: list[Checkpoint], gap: int) -> None:
    data = (b"\n" * gap).join(checkpoint.signed(KEY) for checkpoint in wanted)
    found = parse_checkpoints(data)
    assert found is not None
    assert [signed.checkpoint for signed in found] == wanted
    assert parse_checkpoints(b"x\n" + data) is None
    assert parse_checkpoints(data + b"rubbish\n") is None


def test_nothing_is_no_checkpoint() -> None:
    assert parse_checkpoints(b"") is None
    assert parse_checkpoint(b"") is None
