"""A mutated classifier folder loads right or is refused by a typed error that names the file."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from benchmarks.fuzz_classifiers import check, mutate, write_originals

EXAMPLES = 200


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_originals(tmp_path_factory.mktemp("originals"))


def test_the_originals_load(originals: list[Path]) -> None:
    assert {check(folder) for folder in originals} == {"loaded"}


def test_a_mutated_folder_loads_or_is_refused_by_a_typed_error(originals: list[Path]) -> None:
    seen = set()
    for example in range(EXAMPLES):
        chooser = random.Random(example)
        # Beside the originals, where a combination's members are.
        folder = originals[0].parent / "mutated"
        shutil.copytree(chooser.choice(originals), folder)
        done = mutate(folder, chooser)
        try:
            seen.add(check(folder))
        except Exception as error:
            raise AssertionError(f"example {example}: {done}") from error
        shutil.rmtree(folder)
    assert {"loaded", "refused"} <= seen
