"""Subjects' keys: one each, told by nothing but random ids, wrapped by a master key, gone when destroyed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guardsteer.audit.text import SubjectKeys
from guardsteer.audit.text.subject_keys import MASTER_VARIABLE
from guardsteer.errors import AuditError

MASTER = b"m" * 32


def files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def key_files(directory: Path) -> list[Path]:
    return [path for path in files(directory) if path.name != "names.key"]


def test_a_subject_keeps_its_key_and_shares_it_with_nobody(tmp_path: Path) -> None:
    keys = SubjectKeys(tmp_path)
    first, other = keys.key_for("ann"), keys.key_for("bob")
    assert len(first[1]) == 32
    assert first[1] != other[1]
    assert first[0] != other[0]
    assert SubjectKeys(tmp_path).key_for("ann") == first
    assert keys.key_of(first[0]) == first[1]
    assert keys.has(first[0], "ann")
    assert not keys.has(first[0], "bob")


def test_the_folder_is_its_owners_alone_and_names_nobody(tmp_path: Path) -> None:
    keys = SubjectKeys(tmp_path / "keys")
    keys.key_for("ann@example.com")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for path in files(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "ann" not in str(path.relative_to(tmp_path))
        assert b"ann" not in path.read_bytes()


def test_a_destroyed_key_is_gone_and_the_subject_gets_another(tmp_path: Path) -> None:
    keys = SubjectKeys(tmp_path)
    key_id, key = keys.key_for("ann")
    kept = keys.key_for("bob")
    assert keys.destroy("ann") == (key_id,)
    assert keys.key_of(key_id) is None
    assert not keys.has(key_id, "ann")
    assert keys.destroy("ann") == ()
    assert keys.key_for("ann")[1] != key
    assert keys.key_for("ann")[0] != key_id
    assert keys.key_for("bob") == kept
    assert not any(key in path.read_bytes() for path in files(tmp_path))


def test_all_keys_of_a_subject_are_destroyed_where_two_processes_made_one_each(tmp_path: Path) -> None:
    keys = SubjectKeys(tmp_path)
    name = keys._name("ann")
    made = {keys._make(name)[0], keys._make(name)[0]}
    assert len(made) == 2
    assert keys.key_for("ann")[0] in made
    assert set(keys.destroy("ann")) == made
    assert key_files(tmp_path) == []


def test_a_key_whose_destruction_was_cut_short_is_none(tmp_path: Path) -> None:
    """It was overwritten, and the process was killed before the file was removed."""
    keys = SubjectKeys(tmp_path)
    key_id, _ = keys.key_for("ann")
    (path,) = key_files(tmp_path)
    path.write_bytes(bytes(path.stat().st_size))
    assert keys.key_of(key_id) is None
    assert keys.key_for("ann")[0] != key_id
    assert key_id in keys.destroy("ann")


def test_a_key_is_overwritten_before_its_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = SubjectKeys(tmp_path)
    keys.key_for("ann")
    seen: list[bytes] = []
    unlink = os.unlink

    def look(path: Path) -> None:
        seen.append(Path(path).read_bytes())
        unlink(path)

    monkeypatch.setattr(os, "unlink", look)
    keys.destroy("ann")
    assert len(seen) == 1
    assert set(seen[0]) == {0}


def test_with_a_master_key_no_key_lies_there_as_it_is(tmp_path: Path) -> None:
    keys = SubjectKeys(tmp_path, master=MASTER)
    key_id, key = keys.key_for("ann")
    from base64 import b64encode

    assert not any(b64encode(key) in path.read_bytes() for path in files(tmp_path))
    assert SubjectKeys(tmp_path, master=MASTER).key_of(key_id) == key


def test_the_master_key_comes_from_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "master").write_bytes(MASTER + b"\n")
    monkeypatch.setenv(MASTER_VARIABLE, str(tmp_path / "master"))
    made = SubjectKeys(tmp_path / "keys").key_for("ann")
    monkeypatch.delenv(MASTER_VARIABLE)
    assert SubjectKeys(tmp_path / "keys", master=MASTER).key_for("ann") == made


@pytest.mark.parametrize("master", [None, b"n" * 32])
def test_a_key_under_another_master_key_is_an_error_that_names_both(
    master: bytes | None, tmp_path: Path
) -> None:
    key_id, _ = SubjectKeys(tmp_path, master=MASTER).key_for("ann")
    with pytest.raises(AuditError, match=f"wrapped by the master key .*{MASTER_VARIABLE}"):
        SubjectKeys(tmp_path, master=master).key_of(key_id)
    # It can be destroyed by whoever lacks the master key, too.
    assert SubjectKeys(tmp_path, master=master).destroy("ann") == (key_id,)


def test_a_short_or_missing_master_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuditError, match="31 bytes are too few for a master key"):
        SubjectKeys(tmp_path, master=b"m" * 31)
    monkeypatch.setenv(MASTER_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(AuditError, match="the master key cannot be read"):
        SubjectKeys(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":1,"key":"?"}', b"\xff"])
def test_a_damaged_key_is_an_error_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    keys = SubjectKeys(tmp_path)
    key_id, _ = keys.key_for("ann")
    (path,) = key_files(tmp_path)
    path.write_bytes(content)
    if not content:
        assert keys.key_of(key_id) is None
        return
    with pytest.raises(AuditError, match=str(path)):
        keys.key_of(key_id)


def test_a_damaged_key_of_names_is_an_error(tmp_path: Path) -> None:
    SubjectKeys(tmp_path)
    (tmp_path / "names.key").write_bytes(b"short")
    with pytest.raises(AuditError, match="holds 5 bytes, expected 32"):
        SubjectKeys(tmp_path)


def test_many_that_start_at_once_share_the_key_of_names(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: SubjectKeys(tmp_path)._name("ann"), range(32)))
    assert len(set(names)) == 1
    assert not [path for path in files(tmp_path) if path.name.startswith(".")]
