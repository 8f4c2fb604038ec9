"""Whatever is done to a vector or a recipe, it is loaded correctly or refused with its file named.

``python -m benchmarks.fuzz_vectors --examples 10000`` tries more than a test run does.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.fuzz_vectors import fuzz, main


def test_mutated_vectors_and_recipes_give_a_typed_error_or_a_correct_load(tmp_path: Path) -> None:
    outcomes = fuzz(210, seed=1, folder=tmp_path)
    assert [outcome.failure for outcome in outcomes if outcome.failure] == []
    results = Counter(outcome.result for outcome in outcomes)
    # A fuzzer that only ever breaks the first byte would prove nothing.
    assert set(results) == {"VectorError", "BindingError", "AssetError", "loaded"}
    assert results["VectorError"] > 50


def test_another_exception_is_found_and_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise KeyError("directions")

    assert main(["--examples", "14", "--json"]) == 0
    monkeypatch.setattr("benchmarks.fuzz_vectors.load_vector", broken)
    assert main(["--examples", "14", "--json"]) == 1
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["failures"] == 0
    assert bad["failures"] == 10
    assert "KeyError" in bad["first_failures"][0]
