"""The index is disposable: these tests need not wait for the disk."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what only a loss of power would show."""

    def nothing(path: Path) -> None:
        assert path.exists()

    for module in ("manifest", "parts"):
        monkeypatch.setattr(f"guardsteer.audit.index.{module}.sync", nothing)
