"""Encoders that several tests read with, exported once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.classify.encoder_models import exported, make_model


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models below ``models`` and what was exported of them below ``encoders``."""
    root = tmp_path_factory.mktemp("encoders")
    for kind in ("bert", "roberta"):
        make_model(root / "models" / kind, kind=kind)
        exported(root / "models" / kind, root / "encoders" / kind, pooling="mean")
    return root
