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
    # Combinations name their members from beside a folder of this name.
    root = tmp_path_factory.mktemp("fuzz") / "originals"
    root.mkdir()
    return write_originals(root)


def test_the_originals_load(originals: list[Path]) -> None:
    assert {check(folder) for folder in originals} == {"loaded"}


def test_a_mutated_folder_loads_or_is_refused_by_a_typed_error(originals: list[Path]) -> None:
    seen = set()
    for example in range(EXAMPLES):
        chooser = random.Random(example)
        folder = originals[0].parent.parent / "mutated"
        shutil.copytree(chooser.choice(originals), folder)
        done = mutate(folder, chooser)
        try:
            seen.add(check(folder))
        except Exception as error:
            raise AssertionError(f"example {example}: {done}") from error
        shutil.rmtree(folder)
    assert {"loaded", "refused"} <= seen
