"""A policy's test file to cases, or to every mistake in it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from guardsteer.cases.expecting import MAX_STEPS, Known, read_expectation
from guardsteer.cases.fields import Fields
from guardsteer.cases.model import Case, CaseFile, Context, Script
from guardsteer.core.policy import Policy
from guardsteer.errors import PolicyError, Problem
from guardsteer.rules.document import Node, ScalarNode, SequenceNode, compose, describe
from guardsteer.rules.loading import POLICY_FILE
from guardsteer.rules.places import Report, closest, shown

__all__ = ["CASES_FILE", "find_cases", "load_cases", "parse_cases"]

CASES_FILE: Final = "tests.yaml"
MAX_BYTES: Final = 4 << 20
_VERSION = 1
_TOP = ("guardsteer", "cases", "residual_norms")
_CASE = (
    "name",
    "context",
    "overrides",
    "mode",
    "prompt",
    "user",
    "generation",
    "signals",
    "steps",
    "expect",
)
_MODES = {"enforce": False, "shadow": True}
_PIECE = re.compile(r"\s*\S+|\s+")
_MISSING = math.nan


def find_cases(policy: Path) -> Path | None:
    """Return the test file that lies beside a policy (a file or its folder), None where there is none.

    ``tests.yaml`` beside ``policy.yaml``, ``NAME.tests.yaml`` beside any other ``NAME.yaml``.
    """
    if policy.is_dir():
        path = policy / CASES_FILE
    elif policy.name == POLICY_FILE:
        path = policy.with_name(CASES_FILE)
    else:
        path = policy.with_name(f"{policy.stem}.{CASES_FILE}")
    return path if path.exists() else None


def load_cases(path: Path, policy: Policy, outputs: Mapping[str, tuple[str, ...]] | None = None) -> CaseFile:
    """Return the cases in a file, written for ``policy``, whose classifiers have ``outputs``.

    Raises ``PolicyError`` with every mistake in it.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise PolicyError([Problem(str(path), 0, 0, f"the file cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise PolicyError([Problem(str(path), 0, 0, "the file is not UTF-8", "save it as UTF-8")]) from None
    if len(data) > MAX_BYTES:
        raise PolicyError([Problem(str(path), 0, 0, f"the file has more than {MAX_BYTES:,} bytes")])
    return parse_cases(text, str(path), policy, outputs)


def parse_cases(
    text: str, file: str, policy: Policy, outputs: Mapping[str, tuple[str, ...]] | None = None
) -> CaseFile:
    """Return the cases in ``text``; ``file`` names it in messages. As ``load_cases`` otherwise."""
    report = Report(file, text)
    root = compose(report)
    if root is None and not report:
        report.add(0, "the file is empty", "it begins with 'guardsteer: 1' and 'cases:'")
    cases = CaseFile(file, ()) if root is None else _file(Fields(report), root, Known.of(policy, outputs))
    if report:
        raise PolicyError(report.problems())
    return cases


def _file(fields: Fields, root: Node, known: Known) -> CaseFile:
    entries = fields.mapping(root, "a test file", _TOP)
    for name in ("guardsteer", "cases"):
        if entries and name not in entries:
            fields.report.add(root.start, f"the file has no '{name}'", f"add '{name}:'")
    if "guardsteer" in entries:
        fields.whole(entries["guardsteer"].node, "'guardsteer'", _VERSION, _VERSION)
    norms = {}
    if "residual_norms" in entries:
        node = entries["residual_norms"].node
        for name, value in fields.named(node, "'residual_norms'", "vector", known.vectors):
            norms[name] = fields.number(value, f"the residual norm of {shown(name)}", 1e-9)
    cases: list[Case] = []
    nodes = entries["cases"].node if "cases" in entries else None
    # A file without a case can be read; it is a failure of its own when it is run.
    listed = fields.items(nodes, "'cases'") if nodes is not None and not _empty(nodes) else []
    lines: dict[str, int] = {}
    for node in listed:
        case = _case(fields, node, known)
        if case.name in lines:
            fields.report.add(
                node.start, f"the name {shown(case.name)} is given twice", f"first on line {lines[case.name]}"
            )
        lines.setdefault(case.name, case.line)
        cases.append(case)
    return CaseFile(fields.report.file, tuple(cases), norms)


def _empty(node: Node) -> bool:
    return isinstance(node, SequenceNode) and not node.items


def _case(fields: Fields, node: Node, known: Known) -> Case:
    entries = fields.mapping(node, "a case", _CASE)
    given = {name: entry.node for name, entry in entries.items()}
    for name in ("name", "expect"):
        if entries and name not in entries:
            fields.report.add(node.start, f"the case has no '{name}'", f"add '{name}:'")
    if given and not {"prompt", "user", "generation", "signals"} & given.keys():
        fields.report.add(
            node.start, "the case gives nothing to read", "add 'user', 'prompt', 'generation' or 'signals'"
        )
    prompt = fields.text(given["prompt"], "'prompt'") if "prompt" in given else ""
    user = fields.text(given["user"], "'user'") if "user" in given else prompt
    scripts = _scripts(fields, given["signals"], known) if "signals" in given else ()
    generation = _generation(fields, given["generation"]) if "generation" in given else ()
    steps = fields.whole(given["steps"], "'steps'", 1, MAX_STEPS) if "steps" in given else 1
    expected = fields.items(given["expect"], "'expect'") if "expect" in given else []
    return Case(
        name=fields.text(given["name"], "'name'") if "name" in given else "",
        line=fields.report.place(node.start)[0],
        expect=tuple(read_expectation(fields, item, known) for item in expected),
        context=_context(fields, given["context"]) if "context" in given else {},
        overrides=_overrides(fields, given["overrides"], known) if "overrides" in given else {},
        shadow=fields.word(given["mode"], "'mode'", _MODES) if "mode" in given else False,
        prompt=prompt if "prompt" in given else user,
        user=user,
        generation=generation,
        scripts=scripts,
        steps=max(steps, len(scripts), 1 + len(generation)),
    )


def _context(fields: Fields, node: Node) -> Context:
    values: dict[str, str | int | float | bool | list[str]] = {}
    for key, entry in fields.mapping(node, "'context'").items():
        if isinstance(entry.node, SequenceNode):
            values[key] = [fields.text(item, f"{shown(key)}") for item in entry.node.items]
        elif isinstance(entry.node, ScalarNode) and entry.node.value is not None:
            values[key] = entry.node.value
        else:
            got = describe(entry.node)
            fields.report.add(entry.start, f"{shown(key)} must be a word, a number or a list, got {got}")
    return values


def _overrides(fields: Fields, node: Node, known: Known) -> dict[str, float]:
    return {
        name: fields.number(value, f"the strength of {shown(name)}", 0.0)
        for name, value in fields.named(node, "'overrides'", "vector", known.vectors)
    }


def _generation(fields: Fields, node: Node) -> tuple[str, ...]:
    """A text is read word by word, a list piece by piece: a step each."""
    if isinstance(node, SequenceNode):
        return tuple(fields.text(item, "a piece of 'generation'") for item in node.items)
    return tuple(_PIECE.findall(fields.text(node, "'generation'")))


def _scripts(fields: Fields, node: Node, known: Known) -> tuple[Script, ...]:
    scripts: list[Script] = []
    for item in fields.items(node, "'signals'"):
        signals: dict[str, float] = {}
        sentences: int | None = None
        times = 1
        for key, entry in fields.mapping(item, "a step of 'signals'").items():
            if key == "times":
                times = fields.whole(entry.node, "'times'", 1, MAX_STEPS)
            elif key == "sentences":
                sentences = fields.whole(entry.node, "'sentences'", 0, MAX_STEPS)
            elif known.signals is not None and key not in known.signals:
                hint = closest(key, [*known.signals, "times", "sentences"], "signals")
                fields.report.add(entry.start, f"the policy has no signal {shown(key)}", hint)
            else:
                signals[key] = _score(fields, key, entry.node)
        # The first of several steps changes the signals, the others keep them.
        scripts += [Script(signals, sentences), *([Script()] * (times - 1))]
        if len(scripts) > MAX_STEPS:
            fields.report.add(item.start, f"a case has at most {MAX_STEPS} steps")
            break
    return tuple(scripts)


def _score(fields: Fields, key: str, node: Node) -> float:
    if isinstance(node, ScalarNode) and node.value == "missing":
        return _MISSING
    return fields.number(node, f"the signal {shown(key)}", 0.0, 1.0)
