"""What was computed before, by key, on disk: a run that was stopped goes on from it.

One JSON array a line, appended as results come. A last line that was cut off is left out, so a process may
be killed at any time.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from guardsteer.core.digests import digest_json
from guardsteer.errors import AssetError

__all__ = ["Memory"]


class Memory:
    """JSON values by key in the file ``path``, which is made when the first is put in; a context manager.

    A key is any JSON value. What decides a result must be in its key: nothing else tells results apart.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = _read(path)
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def get(self, key: Any) -> Any | None:
        """Return the value of ``key``, None where there is none."""
        return self._values.get(digest_json(key))

    def put(self, key: Any, value: Any) -> None:
        """Keep ``value`` under ``key``. Raises ``AssetError`` where the file cannot be written."""
        name = digest_json(key)
        self._values[name] = value
        line = json.dumps([name, value], allow_nan=False, separators=(",", ":")) + "\n"
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab")
                if self._file.tell():
                    self._file.write(b"\n")  # what was cut off ends here
            self._file.write(line.encode())
            self._file.flush()
        except OSError as error:
            raise AssetError(f"{self._path}: cannot be written: {error.strerror or error}") from error

    def forget(self) -> None:
        """Remove the file; values are kept no longer."""
        self.__exit__(None, None, None)
        self._values.clear()
        self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return values
    except OSError as error:
        raise AssetError(f"{path}: cannot be read: {error.strerror or error}") from error
    for line in lines:
        try:
            name, value = json.loads(line)
        except (ValueError, TypeError):
            continue
        values[str(name)] = value
    return values
