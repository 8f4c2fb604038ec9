"""Who approved a policy: a detached signature, Ed25519 (RFC 8032), over the file's digest and the approval.

Beside ``FILE`` lies ``FILE.sig``: one JSON object in canonical form (sorted keys, no blanks) and a
newline. What is signed is a line that names the format, and that object without its ``signature``. A
signature file that differs in any byte from what was signed is refused, blanks included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from guardsteer.core.digests import digest_bytes
from guardsteer.core.policy import Approval, Binding, Policy
from guardsteer.errors import PolicyError, Problem, SignatureError
from guardsteer.rules.binding import parse_binding
from guardsteer.rules.checks import OutputsOf
from guardsteer.rules.loading import MAX_BYTES, POLICY_FILE, parse_policy
from guardsteer.rules.signing_keys import PrivateKey, PublicKey, key_id, read_trusted

__all__ = [
    "SIGNATURE_SUFFIX",
    "load_binding_signed",
    "load_policy_signed",
    "sign_policy",
    "signature_path",
    "verify_policy",
]

SIGNATURE_SUFFIX: Final = ".sig"
_FORMAT: Final = 1
_DOMAIN: Final = b"guardsteer-policy-signature\n"
_LARGEST_BYTES: Final = 4096
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS = {"format", "digest", "approved_by", "approved_at", "key", "signature"}
_HEX = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class _Signature:
    """What a signature file says."""

    digest: str
    approved_by: str
    approved_at: str
    key: str
    signature: str = ""
    format: int = _FORMAT

    def signed_bytes(self) -> bytes:
        """Return the bytes that the key signs: everything but the signature itself."""
        fields = asdict(self)
        del fields["signature"]
        return _DOMAIN + _canonical(fields)

    def encoded(self) -> bytes:
        """Return the signature file's content."""
        return _canonical(asdict(self)) + b"\n"


def signature_path(policy: str | Path) -> Path:
    """Return where the signature of a policy (a file, or its folder) or of a binding file lies."""
    path = _file_of(Path(policy))
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def sign_policy(policy: str | Path, key: PrivateKey, *, by: str, at: datetime | None = None) -> Path:
    """Write the signature of a policy or binding file beside it, and return where.

    ``by`` is whoever approves; ``at`` defaults to now. Raises ``SignatureError`` for an approval without
    a name, ``OSError`` where a file cannot be read or written.
    """
    if not by.strip() or not by.isprintable() or len(by) > 256:
        raise SignatureError("malformed", f"approved_by must be a name of 1 to 256 characters, got {by!r}")
    moment = (at or datetime.now(UTC)).astimezone(UTC).strftime(_TIME)
    path = _file_of(Path(policy))
    unsigned = _Signature(digest_bytes(path.read_bytes()), by, moment, key_id(key.public_key()))
    signed = replace(unsigned, signature=key.sign(unsigned.signed_bytes()).hex())
    target = signature_path(path)
    target.write_bytes(signed.encoded())
    return target


def verify_policy(policy: str | Path, trusted: str | Path) -> Approval:
    """Return who approved a policy or binding file, and when.

    ``trusted`` is a public key, or a folder of them (``*.pub``). Raises ``SignatureError``, whose
    ``reason`` says which way it fails, and ``PolicyError`` where a file cannot be read.
    """
    return _verified(_file_of(Path(policy)), trusted)[1]


def load_policy_signed(policy: str | Path, trusted: str | Path, outputs: OutputsOf | None = None) -> Policy:
    """Return the checked policy, with its ``approval``, if its signature is by a ``trusted`` key.

    The bytes that were verified are the bytes that are loaded. Raises as ``verify_policy`` and
    ``load_policy``.
    """
    path = _file_of(Path(policy))
    data, approval = _verified(path, trusted)
    return replace(parse_policy(_text_of(path, data), str(path), outputs=outputs), approval=approval)


def load_binding_signed(path: str | Path, trusted: str | Path, policy: Policy) -> Binding:
    """Return the checked binding of ``policy`` in a file, if its signature is by a ``trusted`` key.

    Raises as ``verify_policy`` and ``load_binding``.
    """
    data, _ = _verified(Path(path), trusted)
    return parse_binding(_text_of(Path(path), data), str(path), policy)


def _text_of(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError([Problem(str(path), 0, 0, "the file is not UTF-8", "save it as UTF-8")]) from None


def _file_of(policy: Path) -> Path:
    return policy / POLICY_FILE if policy.is_dir() else policy


def _verified(path: Path, trusted: str | Path) -> tuple[bytes, Approval]:
    """Return a file's bytes and its approval, once the one is shown to belong to the other."""
    keys = read_trusted(Path(trusted))
    signature = _read_signature(signature_path(path))
    _verify(path, signature, keys)
    data = _bytes_of(path, MAX_BYTES)
    digest = digest_bytes(data)
    if signature.digest != digest:
        raise SignatureError(
            "wrong_digest",
            f"{path} is not what was signed: its digest is {digest}, the signature is over "
            f"{signature.digest}; have it checked and signed again",
        )
    return data, Approval(signature.approved_by, signature.approved_at, signature.key)


def _verify(path: Path, signature: _Signature, keys: Mapping[str, PublicKey]) -> None:
    key = keys.get(signature.key)
    if key is None:
        raise SignatureError(
            "unknown_key",
            f"{path} was signed with the key {signature.key}, which is not trusted; "
            f"trusted: {', '.join(sorted(keys))}",
        )
    try:
        key.verify(bytes.fromhex(signature.signature), signature.signed_bytes())
    except InvalidSignature:
        raise SignatureError(
            "bad_signature", f"the signature of {path} does not fit to what it states; it was changed"
        ) from None


def _read_signature(path: Path) -> _Signature:
    data = _bytes_of(path, _LARGEST_BYTES)
    try:
        values: Any = json.loads(data.decode("utf-8"))
        signature = _checked(values)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, str(error)) from None
    if signature.encoded() != data:
        raise _malformed(path, "it is not in the form in which it was written")
    return signature


def _checked(values: Any) -> _Signature:
    """Raises ``ValueError`` for anything but the fields of a signature."""
    if not isinstance(values, dict) or values.keys() != _FIELDS:
        raise ValueError(f"expected an object with {', '.join(sorted(_FIELDS))}")
    if values["format"] != _FORMAT or type(values["format"]) is not int:
        raise ValueError(f"got format {values['format']!r}, this version reads {_FORMAT}")
    wrong = [name for name in sorted(_FIELDS - {"format"}) if not isinstance(values[name], str)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be text")
    if not _HEX.fullmatch(values["signature"]):
        raise ValueError("the signature must be 128 hexadecimal digits")
    if datetime.strptime(values["approved_at"], _TIME).strftime(_TIME) != values["approved_at"]:
        raise ValueError("approved_at must be a time in UTC, as in 2026-01-31T12:00:00Z")
    return _Signature(**values)


def _bytes_of(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        if path.suffix != SIGNATURE_SUFFIX:
            raise PolicyError([Problem(str(path), 0, 0, "there is no such file")]) from None
        message = f"{path} is missing: the policy is not signed; guardsteer policy sign signs it"
        raise SignatureError("unsigned", message) from None
    except OSError as error:
        raise PolicyError([Problem(str(path), 0, 0, f"the file cannot be read: {error.strerror}")]) from None
    if len(data) > most:
        raise SignatureError("malformed", f"{path} has more than {most:,} bytes")
    return data


def _malformed(path: Path, why: str) -> SignatureError:
    return SignatureError("malformed", f"{path} is no signature of a policy: {why}; sign the policy again")


def _canonical(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
