"""What a caller hands to ``generate``, checked: rows, padding, request ids, contexts, turns."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from guardsteer.core.policy import Policy
from guardsteer.errors import RequestError
from guardsteer.rules.names import REQUEST_KEYS
from guardsteer.runtime.terms import Terms, terms_of

__all__ = ["Request", "attention_mask_of", "missing_turns", "read_requests"]

_OWN_KEYS = ("request", "turns", "strengths", "principal", "subject")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One row as the caller gave it; ``turns`` are ``(role, first, end)`` in the row's own tokens.

    ``wishes`` are the strengths that it asked for, ``terms`` what the policy makes of it. ``principal`` is
    who asked, ``subject`` whose text it is; both are for the audit alone.
    """

    id: str
    prompt: tuple[int, ...]
    context: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[tuple[str, int, int], ...] | None = None
    wishes: Mapping[str, float] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)
    principal: str = ""
    subject: str = ""

    def last(self, role: str) -> tuple[int, int] | None:
        """Return where the last turn of ``role`` begins and ends."""
        found = [(first, end) for who, first, end in self.turns or () if who == role]
        return found[-1] if found else None

    def all(self, role: str) -> list[tuple[int, int]]:
        """Return where the turns of ``role`` begin and end."""
        return [(first, end) for who, first, end in self.turns or () if who == role]


def attention_mask_of(
    input_ids: Tensor, given: Tensor | None, pad: int | None, eos: frozenset[int]
) -> Tensor:
    """Return the mask that ``generate`` works with: the one given, or what the pad token tells.

    ``input_ids: [row, column]``, result of the same shape. Raises ``RequestError`` for another shape,
    for padding on the right or inside, and for a row that is all padding.
    """
    if given is not None:
        if given.shape != input_ids.shape:
            raise RequestError(
                f"attention_mask: got shape {tuple(given.shape)}, expected {tuple(input_ids.shape)} "
                "as input_ids; pass the whole sequence, not its new part alone"
            )
        mask = given != 0
    elif pad is not None and pad not in eos and bool((input_ids == pad).any()):
        mask = input_ids != pad
    else:
        mask = torch.ones_like(input_ids, dtype=torch.bool)
    for row, bits in enumerate(mask.tolist()):
        if not bits or not bits[-1] or False in bits[bits.index(True) :]:
            raise RequestError(
                f"row {row} is not padded on the left: set tokenizer.padding_side='left' and pass the "
                "tokenizer's attention_mask"
            )
    return mask


def read_requests(
    input_ids: Tensor, mask: Tensor, guard: Any, policy: Policy, candidates: Sequence[Policy] = ()
) -> list[Request]:
    """Return one request for each row; raises ``RequestError`` with all that is wrong.

    ``guard`` is None, a mapping for a single row, or a sequence of one mapping (or None) for each row.
    A mapping may hold ``request`` (an id), ``turns``, ``strengths``, ``principal``, ``subject`` and context
    keys: the policy's, and those that ``candidates`` alone declare.
    """
    entries = _entries(guard, len(input_ids))
    types: dict[str, str] = dict(REQUEST_KEYS)
    for declaring in (*candidates, policy):
        types |= dict(declaring.context)
    problems: list[str] = []
    requests: list[Request] = []
    for row, (ids, bits, entry) in enumerate(zip(input_ids.tolist(), mask.tolist(), entries, strict=True)):
        prompt = tuple(token for token, bit in zip(ids, bits, strict=True) if bit)
        request, wrong = _read(prompt, dict(entry), policy, types)
        requests.append(request)
        problems += [f"guard[{row}]{line}" for line in wrong]
    names = [request.id for request in requests]
    if not problems and len(set(names)) != len(names):
        problems.append("two rows have one request id; ids must differ")
    if not problems:
        missing = ((row, missing_turns(request, policy)) for row, request in enumerate(requests))
        problems = [f"row {row}: {message}" for row, message in missing if message]
    if problems:
        raise RequestError("\n".join(problems))
    return requests


def _entries(guard: Any, rows: int) -> list[Mapping[str, Any]]:
    if guard is None:
        return [{}] * rows
    if isinstance(guard, Mapping):
        guard = [guard]
    if not isinstance(guard, Sequence) or len(guard) != rows:
        got = f"{len(guard)} entries" if isinstance(guard, Sequence) else type(guard).__name__
        raise RequestError(f"guard: got {got} for {rows} rows, expected a list with one mapping for each row")
    entries = [{} if entry is None else entry for entry in guard]
    for row, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise RequestError(
                f"guard[{row}]: got {type(entry).__name__}, expected a mapping such as {{'tenant': 'acme'}}"
            )
    return entries


def _read(
    prompt: tuple[int, ...], values: dict[str, Any], policy: Policy, types: Mapping[str, str]
) -> tuple[Request, list[str]]:
    """Return a row's request, and what is wrong with it."""
    name = values.pop("request", None)
    turns = values.pop("turns", None)
    wishes = values.pop("strengths", None) or {}
    problems: list[str] = []
    people = {key: _person(key, values, types, problems) for key in ("principal", "subject")}
    if name is not None and not isinstance(name, str):
        problems.append(f"['request']: got {type(name).__name__}, expected a string")
    if not isinstance(wishes, Mapping):
        problems.append(f"['strengths']: got {type(wishes).__name__}, expected strengths by vector")
    problems += _context_problems(values, types)
    problems += _turn_problems(turns, len(prompt))
    if problems:
        return Request("", prompt), problems
    if types["labels"] == "labels" and "labels" in values:
        values["labels"] = list(values["labels"])
    identity = name or uuid.uuid4().hex
    try:
        terms = terms_of(policy, identity, values, wishes)
    except RequestError as error:
        return Request("", prompt), str(error).splitlines()
    read = None if turns is None else _as_turns(turns)
    return Request(identity, prompt, values, read, dict(wishes), terms, **people), []


def _person(key: str, values: dict[str, Any], types: Mapping[str, str], problems: list[str]) -> str:
    """Return who a request names under ``key``, empty for nobody; a policy that declares it sees it too."""
    value = values.get(key) if key in types else values.pop(key, None)
    if value is None or isinstance(value, str):
        return value or ""
    if key not in types:
        problems.append(f"[{key!r}]: got {type(value).__name__}, expected a string")
    return str(value)


def _context_problems(values: Mapping[str, Any], types: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    for key, value in values.items():
        if key not in types:
            known = ", ".join([*_OWN_KEYS, *types])
            problems.append(f"[{key!r}]: unknown key; declare it under the policy's context, or use {known}")
        elif types[key] == "labels":
            if not isinstance(value, list | tuple) or not all(isinstance(label, str) for label in value):
                problems.append(f"[{key!r}]: got {value!r}, expected a list of strings")
        elif not isinstance(value, _TYPES[types[key]]) or (isinstance(value, bool) and types[key] != "bool"):
            problems.append(f"[{key!r}]: got {value!r}, expected a value of type {types[key]}")
    return problems


def _turn_problems(turns: Any, length: int) -> list[str]:
    if turns is None:
        return []
    try:
        read = _as_turns(turns)
    except (TypeError, ValueError):
        return ["['turns']: expected (role, first, end) triples, as guard.chat makes them"]
    return [
        f"['turns']: {role} turn {first}..{end} lies outside the {length} tokens of the prompt"
        for role, first, end in read
        if not 0 <= first <= end <= length
    ]


def _as_turns(turns: Any) -> tuple[tuple[str, int, int], ...]:
    return tuple((str(role), int(first), int(end)) for role, first, end in turns)


def missing_turns(request: Request, policy: Policy) -> str:
    """Return what the policy needs turns for that the request does not bring, or nothing.

    Without them it would silently read or steer nothing.
    """
    needs = [f"classifier {c.name!r} reads the last user turn" for c in policy.classifiers if c.on == "user"]
    needs += [
        f"vector {v.name!r} acts on assistant turns" for v in policy.vectors if "assistant" in v.positions
    ]
    reads_user = any(c.on == "user" for c in policy.classifiers)
    if not needs or not (request.turns is None or (reads_user and request.last("user") is None)):
        return ""
    return f"it brings no turns of its chat, but {needs[0]}: build the inputs with guard.chat(messages)"
