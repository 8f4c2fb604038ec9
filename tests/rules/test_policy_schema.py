"""The JSON Schema of policies and the loader agree: editors are told nothing that loading contradicts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from guardsteer.errors import PolicyError
from guardsteer.rules import binding_schema, parse_policy, policy_schema
from guardsteer.rules.document import compose, plain
from guardsteer.rules.places import Report
from tests.fuzz.policies import POLICIES, changed_trees
from tests.fuzz.trees import STYLES, correct_trees, written
from tests.rules.mistakes import MISTAKES
from tests.rules.support import FILE, SUPPORT, changed

jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")
NEEDS_CHECKER = pytest.mark.skipif(
    find_spec("check_jsonschema") is None, reason="the package check-jsonschema is not installed"
)

# What the schema leaves to the loader: conditions, names that refer to one another, YAML's traps, and
# bounds that hang on another field.
LEFT_TO_THE_LOADER = (
    *("there is no", "names a classifier and a flag", "given twice", "named twice", "written"),
    *("to some readers", "lookahead", "could never match", "has no output", "expected", "names both"),
    *(
        "must be at most 'enter'",
        "must be at least 'after'",
        "must be at most 'high'",
        "must be at most 'to'",
    ),
    *("more than the vector's", "steers with", "needs a fallback", "not allowed", "does nothing"),
    *("a route needs", "must come last", "with the flags", "a rollout goes by", "request.labels is"),
    *("got the number 1.0",),
)


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(policy_schema())


def tree_of(text: str) -> Any:
    """Return a text as editors see it, None where it is no YAML."""
    root = compose(Report(FILE, text))
    return None if root is None else plain(root)


def fields_in(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field that a schema describes."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for value in schema.values():
            yield from fields_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from fields_in(value)


@pytest.mark.parametrize("schema", [policy_schema(), binding_schema()], ids=["policy", "binding"])
def test_a_schema_is_one_and_tells_of_every_field(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    fields = list(fields_in(schema))
    assert len(fields) >= 4
    for name, field in fields:
        assert field["title"] == name
        assert field["description"].endswith((".", "…"))
        assert "``" not in field["description"]
        simple = "$ref" not in field and field.get("type") in ("string", "number", "integer", "boolean")
        assert not simple or field["examples"], name


def test_examples_are_valid_where_they_stand() -> None:
    schema = policy_schema()
    for name, field in fields_in(schema):
        holder = {"$defs": schema["$defs"], **field}
        for example in field.get("examples", ()):
            jsonschema.Draft202012Validator(holder).validate(example)
        if "default" in field:
            jsonschema.Draft202012Validator(holder).validate(field["default"])
        assert name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=correct_trees(), flow=STYLES)
def test_every_policy_that_loads_is_valid(validator: Any, tree: Any, flow: bool | None) -> None:
    text = written(tree, flow)
    parse_policy(text, FILE)
    validator.validate(tree_of(text))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=changed_trees())
def test_what_is_not_valid_does_not_load(validator: Any, data: bytes) -> None:
    """Whatever is done to a policy, an editor marks nothing that would have been loaded."""
    text = data.decode()
    try:
        parse_policy(text, FILE)
    except PolicyError:
        return
    validator.validate(tree_of(text))


def test_an_editor_marks_every_mistake_but_those_left_to_the_loader(validator: Any) -> None:
    unseen = [
        message
        for old, new, _, _, message, _ in MISTAKES
        for tree in [tree_of(changed(old, new))]
        if tree is not None and validator.is_valid(tree)
    ]
    assert [m for m in unseen if not any(words in m for words in LEFT_TO_THE_LOADER)] == []
    assert [words for words in LEFT_TO_THE_LOADER if not any(words in m for m in unseen)] == []


def test_the_policies_of_the_tests_are_valid(validator: Any) -> None:
    for text in (SUPPORT, *POLICIES):
        validator.validate(tree_of(text))


@NEEDS_CHECKER
def test_check_jsonschema_takes_the_schema_and_the_shipped_policies(repository: Path, tmp_path: Path) -> None:
    """The tool that continuous integration and editors use agrees, on files as they lie there."""
    schema = tmp_path / "policy.schema.json"
    schema.write_text(json.dumps(policy_schema()))
    shipped = sorted((repository / "policies").glob("*/policy.yaml"))
    assert shipped
    broken = tmp_path / "broken.yaml"
    broken.write_text(changed("enter: 0.60", "enter: 6"))
    check = [sys.executable, "-m", "check_jsonschema"]
    for arguments, status in (
        (["--check-metaschema", str(schema)], 0),
        (["--schemafile", str(schema), *map(str, shipped)], 0),
        (["--schemafile", str(schema), str(broken)], 1),
    ):
        done = subprocess.run([*check, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
