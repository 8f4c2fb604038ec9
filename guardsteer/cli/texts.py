"""Files with a text a line, as options name them."""

from __future__ import annotations

from pathlib import Path

from guardsteer.errors import AssetError

__all__ = ["read_lines"]


def read_lines(path: Path | None, option: str) -> list[str]:
    """Return the lines of a UTF-8 file that hold more than blanks; none where ``path`` is None.

    Raises ``AssetError``, which names ``option``, for a file that cannot be read or holds no text.
    """
    if path is None:
        return []
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise AssetError(f"{option}: {path} cannot be read: {reason or error}") from error
    if not lines:
        raise AssetError(f"{option}: {path} holds no text; write one a line")
    return lines
