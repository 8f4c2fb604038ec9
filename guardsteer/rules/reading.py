"""Bytes and text of a file, or what is wrong with them."""

from __future__ import annotations

from pathlib import Path

from guardsteer.errors import PolicyError, Problem

__all__ = ["MAX_BYTES", "decode", "read_bytes"]

MAX_BYTES = 1 << 20


def read_bytes(path: Path, hint: str) -> bytes:
    """Return the file's bytes, at most one more than may be; raises ``PolicyError``, with ``hint``."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PolicyError([Problem(str(path), 0, 0, "there is no such file", hint)]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PolicyError([Problem(str(path), 0, 0, f"the file cannot be read: {reason}")]) from None


def decode(data: bytes, file: str) -> str:
    """Return the file's text without a byte order mark; raises ``PolicyError`` with the place.

    Surrogates are let through, so that they can be reported with their place.
    """
    if len(data) > MAX_BYTES:
        message = f"a policy has at most {MAX_BYTES:,} bytes, got more"
        raise PolicyError([Problem(file, 1, 1, message, "split it into several policies")])
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        if error.object[error.start : error.start + 1] == b"\xed":  # a surrogate, reported with its place
            try:
                return data.decode("utf-8", "surrogatepass")
            except UnicodeDecodeError:
                pass
        before = error.object[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        byte = error.object[error.start]
        message = f"the file is not UTF-8: byte 0x{byte:02x} cannot be read"
        raise PolicyError([Problem(file, line, column, message, "save it as UTF-8")]) from None
