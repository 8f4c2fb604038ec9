"""Every line of a real log, with everything on, is what the published schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from guardsteer.audit.schema import published_schema
from guardsteer.core.events import Event
from tests.runtime.everything import drive

jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")

NOT_MET = {"classifier_late", "classifier_restored", "text_dropped", "text_forgotten"}
"""Kinds that take a slow classifier, a long wait, a full disk or somebody who forgets."""


def test_every_record_of_a_real_run_is_what_the_schema_says(tmp_path: Path) -> None:
    drive(tmp_path)
    schema = published_schema()
    whole = jsonschema.Draft202012Validator(schema)
    kinds: set[str] = set()
    for path in sorted((tmp_path / "log").glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            assert whole.is_valid(line), [
                error.message
                for error in jsonschema.Draft202012Validator(
                    {**schema["$defs"][line["kind"]], "$defs": schema["$defs"]}
                ).iter_errors(line)
            ]
            kinds.add(line["kind"])
            known = schema["$defs"][line["kind"]]["properties"]
            assert line.keys() <= known.keys(), "a field that the schema does not tell of"
    tags = {each.__struct_config__.tag for each in get_args(Event)}
    assert tags - kinds == NOT_MET
