"""A policy loads as signed only if every byte of it and of its approval is what a trusted key signed."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from guardsteer.core.digests import digest_file
from guardsteer.errors import PolicyError, SignatureError
from guardsteer.rules import load_policy
from guardsteer.rules.signing import load_policy_signed, sign_policy, signature_path, verify_policy
from guardsteer.rules.signing_keys import PASSWORD, make_keys, read_private

POLICY = """\
guardsteer: 1
name: calm
classifiers:
  swearing: {literals: [damn], on: all}
flags:
  rude: {signal: swearing.match, enter: 0.5}
rules:
  - {id: stop, when: rude, halt: true}
fallback: "Let us stop here."
"""
AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """Return a policy signed by Ada; her public key lies in ``trusted/``."""
    (tmp_path / "trusted").mkdir()
    private, public, _ = make_keys(tmp_path / "ada")
    public.rename(tmp_path / "trusted" / "ada.pub")
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    sign_policy(policy, read_private(private), by="Ada Lovelace", at=AT)
    return policy


def trusted(policy: Path) -> Path:
    return policy.parent / "trusted"


def reason_of(policy: Path) -> str:
    with pytest.raises(SignatureError) as caught:
        load_policy_signed(policy, trusted(policy))
    with pytest.raises(SignatureError) as again:
        verify_policy(policy, trusted(policy))
    assert again.value.reason == caught.value.reason
    return caught.value.reason


def test_a_signed_policy_loads_as_itself_with_who_approved_it_and_when(signed: Path) -> None:
    policy = load_policy_signed(signed, trusted(signed))
    plain = load_policy(signed)
    assert policy.approval is not None
    assert (policy.approval.by, policy.approval.at) == ("Ada Lovelace", "2026-01-31T12:00:00Z")
    assert policy.approval.key.startswith("ed25519:")
    assert policy.digest == plain.digest == digest_file(signed)
    assert policy.rules == plain.rules
    assert plain.approval is None
    assert verify_policy(signed, trusted(signed) / "ada.pub") == policy.approval


def test_a_folder_means_the_policy_in_it(signed: Path) -> None:
    assert signature_path(signed.parent) == signature_path(signed)
    assert load_policy_signed(signed.parent, trusted(signed)).name == "calm"


def test_a_policy_without_signature_is_refused(signed: Path) -> None:
    signature_path(signed).unlink()
    assert reason_of(signed) == "unsigned"


@pytest.mark.parametrize("at", range(0, len(POLICY), 7))
def test_a_changed_byte_of_the_policy_is_found(signed: Path, at: int) -> None:
    data = bytearray(signed.read_bytes())
    data[at] ^= 1
    signed.write_bytes(data)
    assert reason_of(signed) == "wrong_digest"


def test_a_policy_that_grew_or_shrank_is_found(signed: Path) -> None:
    for text in (POLICY + "\n", POLICY[:-1], ""):
        signed.write_text(text)
        assert reason_of(signed) == "wrong_digest"


def test_every_changed_byte_of_the_signature_file_is_found(signed: Path) -> None:
    path = signature_path(signed)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in (1, 0x20):
            changed = bytearray(whole)
            changed[at] ^= bit
            path.write_bytes(changed)
            assert reason_of(signed) in ("malformed", "bad_signature", "unknown_key")
    for changed_length in (whole[:-1], whole + b"\n", whole + b" ", b"", b" " + whole):
        path.write_bytes(changed_length)
        assert reason_of(signed) == "malformed"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("digest", "b3:" + "0" * 64, "bad_signature"),
        ("approved_by", "Mallory", "bad_signature"),
        ("approved_at", "2027-01-31T12:00:00Z", "bad_signature"),
        ("approved_at", "yesterday", "malformed"),
        ("approved_at", "2026-1-31T12:00:00Z", "malformed"),
        ("key", "ed25519:" + "0" * 32, "unknown_key"),
        ("signature", "0" * 128, "bad_signature"),
        ("signature", "0" * 126, "malformed"),
        ("signature", "A" * 128, "malformed"),
        ("format", 2, "malformed"),
        ("format", True, "malformed"),
        ("approved_by", 7, "malformed"),
        ("extra", "field", "malformed"),
    ],
)
def test_a_field_that_was_rewritten_in_good_form_is_found(
    signed: Path, field: str, value: object, reason: str
) -> None:
    path = signature_path(signed)
    fields = {**json.loads(path.read_text()), field: value}
    path.write_text(json.dumps(fields, sort_keys=True, separators=(",", ":")) + "\n")
    assert reason_of(signed) == reason


def test_the_same_fields_written_another_way_are_no_signature(signed: Path) -> None:
    path = signature_path(signed)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert reason_of(signed) == "malformed"


def test_a_signature_belongs_to_one_policy(signed: Path) -> None:
    other = signed.with_name("other.yaml")
    other.write_text(POLICY.replace("calm", "other"))
    signature_path(other).write_bytes(signature_path(signed).read_bytes())
    assert reason_of(other) == "wrong_digest"


def test_a_signature_of_a_stranger_is_refused_also_under_a_trusted_name(signed: Path) -> None:
    private, _, _ = make_keys(signed.parent / "mallory")
    ada = json.loads(signature_path(signed).read_text())["key"]
    sign_policy(signed, read_private(private), by="Ada Lovelace", at=AT)
    assert reason_of(signed) == "unknown_key"
    fields = {**json.loads(signature_path(signed).read_text()), "key": ada}
    signature_path(signed).write_text(json.dumps(fields, sort_keys=True, separators=(",", ":")) + "\n")
    assert reason_of(signed) == "bad_signature"


def test_one_of_several_trusted_keys_is_enough_and_none_is_an_error(signed: Path, tmp_path: Path) -> None:
    _, public, _ = make_keys(tmp_path / "grace")
    public.rename(trusted(signed) / "grace.pub")
    assert verify_policy(signed, trusted(signed)).by == "Ada Lovelace"
    (tmp_path / "nobody").mkdir()
    for nothing in (tmp_path / "nobody", tmp_path / "absent", signed):
        with pytest.raises(SignatureError) as caught:
            verify_policy(signed, nothing)
        assert caught.value.reason == "bad_key"


def test_a_binding_file_can_be_signed_too(signed: Path) -> None:
    binding = signed.with_name("binding.yaml")
    binding.write_text("mode: shadow\n")
    sign_policy(binding, read_private(signed.with_name("ada.key")), by="Ada")
    assert verify_policy(binding, trusted(signed)).by == "Ada"
    binding.write_text("mode: enforce\n")
    assert reason_of(binding) == "wrong_digest"


def test_what_was_verified_is_what_is_loaded(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is read once: a file that is swapped behind the check cannot slip in."""
    opened: list[str] = []
    original = Path.open

    def counting(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(self.name)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counting)
    load_policy_signed(signed, trusted(signed))
    assert opened.count("policy.yaml") == 1


def test_mistakes_of_a_signed_policy_are_told_as_of_any_other(signed: Path) -> None:
    signed.write_text(POLICY.replace("swearing.match", "swaering.match"))
    sign_policy(signed, read_private(signed.with_name("ada.key")), by="Ada")
    with pytest.raises(PolicyError) as caught:
        load_policy_signed(signed, trusted(signed))
    assert [problem.line for problem in caught.value.problems] == [6]
    assert not isinstance(caught.value, SignatureError)


@pytest.mark.parametrize("by", ["", "  ", "a\nb", "x" * 257])
def test_an_approval_needs_a_name_on_one_line(signed: Path, by: str) -> None:
    with pytest.raises(SignatureError, match="approved_by"):
        sign_policy(signed, read_private(signed.with_name("ada.key")), by=by)


def test_a_private_key_is_its_owners_alone_and_nothing_is_overwritten(tmp_path: Path) -> None:
    private, public, name = make_keys(tmp_path / "k")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(FileExistsError):
        make_keys(tmp_path / "k")
    private.rename(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        make_keys(tmp_path / "k")
    assert not private.exists()
    assert before == ((tmp_path / "elsewhere").read_bytes(), public.read_bytes())
    assert name.startswith("ed25519:")


def test_a_key_with_a_password_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "correct horse")
    private, _, _ = make_keys(tmp_path / "k")
    assert b"ENCRYPTED" in private.read_bytes()
    read_private(private)
    for wrong in ("battery staple", ""):
        monkeypatch.setenv(PASSWORD, wrong)
        with pytest.raises(SignatureError, match=PASSWORD) as caught:
            read_private(private)
        assert caught.value.reason == "bad_key"
        assert wrong == "" or wrong not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k.key"
    path.write_bytes(content)
    with pytest.raises(SignatureError, match="no private key") as caught:
        read_private(path)
    assert caught.value.reason == "bad_key"


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    path = tmp_path / "k.key"
    key = X25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    with pytest.raises(SignatureError, match="another kind"):
        read_private(path)
