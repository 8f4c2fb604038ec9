"""A policy file that is looked at again and again, and adopted whenever it changes for the better."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Protocol, TypeAlias

import structlog

from guardsteer.errors import GuardsteerError

__all__ = ["Reloadable", "Watcher"]

_BESIDE = ("policy.yaml", "policy.yaml.sig", "tests.yaml")
_Sight: TypeAlias = tuple[tuple[int, int, int, int] | None, ...]


class Reloadable(Protocol):
    """What can be given another policy."""

    def reload(self, policy: Path, *, source: str = ...) -> str:
        """Adopt the policy in a file, or raise and stay as it was."""


class Watcher:
    """Looks at a policy's files every ``every_s`` seconds in a thread of its own, until ``close``.

    A file that was written over, replaced or reached by another symbolic link is loaded, tested and
    adopted; where that fails, the policy in force stays, the log and the audit say why, and the next
    change is tried again. A file that is gone is no change.
    """

    def __init__(self, guard: Reloadable, path: Path, every_s: float) -> None:
        self.path = path
        self._guard = guard
        self._every_s = every_s
        self._log = structlog.get_logger("guardsteer.policy")
        self._closing = threading.Event()
        self._seen = self._look()
        self._thread = threading.Thread(target=self._run, name="guardsteer-policy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking; waits for a reload that is under way. Does nothing the second time."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            sight = self._look()
            if sight == self._seen or not any(sight):
                continue
            self._seen = sight
            try:
                digest = self._guard.reload(self.path, source="watch")
            except GuardsteerError as error:
                self._log.error("policy.refused", file=str(self.path), error=str(error))
            except Exception as error:  # the watch must outlive whatever a file makes others raise
                self._log.error("policy.refused", file=str(self.path), error=repr(error))
            else:
                self._log.info("policy.adopted", file=str(self.path), digest=digest)

    def _look(self) -> _Sight:
        """Return what identifies the files' present contents, links followed."""
        if self.path.is_dir():
            files = [self.path / name for name in _BESIDE]
        else:
            signature = self.path.with_name(f"{self.path.name}.sig")
            files = [self.path, signature, self.path.with_name(f"{self.path.stem}.tests.yaml")]
        return tuple(_identity(file) for file in files)


def _identity(file: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
