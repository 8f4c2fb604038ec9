"""The key of the keyed digests."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit.keys import KEY_VARIABLE, key_name, keyed_digest, load_key
from guardsteer.errors import AuditError


@given(st.binary(min_size=16, max_size=200), st.binary(max_size=200))
def test_a_keyed_digest_is_hmac_sha_256(key: bytes, data: bytes) -> None:
    assert keyed_digest(key, data) == "hk:" + hmac.new(key, data, "sha256").hexdigest()


def test_another_key_gives_another_digest_and_another_name() -> None:
    one, two = b"1" * 16, b"2" * 16
    assert keyed_digest(one, b"text") != keyed_digest(two, b"text")
    assert key_name(one) != key_name(two)
    assert key_name(one) not in keyed_digest(one, b"text")


def test_a_key_that_is_given_comes_first_then_the_named_file_then_the_directorys_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    own = load_key(tmp_path)
    (tmp_path / "elsewhere").write_bytes(b"  a key that lies elsewhere\n")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "elsewhere"))
    assert load_key(tmp_path) == b"a key that lies elsewhere"
    assert load_key(tmp_path, b"k" * 16) == b"k" * 16
    monkeypatch.delenv(KEY_VARIABLE)
    assert load_key(tmp_path) == own


def test_the_directorys_own_key_is_made_once_at_random_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert load_key(one) == load_key(one)
    assert len(load_key(one)) == 64
    assert load_key(one) != load_key(two)
    assert [path.name for path in one.iterdir()] == ["digest.key"]
    assert (one / "digest.key").stat().st_mode & 0o777 == 0o600


def test_of_two_processes_that_make_the_key_at_once_both_use_the_first_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    first = load_key(tmp_path)
    # The second one looked before the first had made it.
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert load_key(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["digest.key"]


def test_a_key_that_is_missing_or_too_short_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AuditError, match="15 bytes are too few"):
        load_key(tmp_path, b"k" * 15)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(AuditError, match=r"absent: the key .* cannot be read"):
        load_key(tmp_path)
    (tmp_path / "empty").write_bytes(b" \n")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "empty"))
    with pytest.raises(AuditError, match="0 bytes are too few"):
        load_key(tmp_path)
