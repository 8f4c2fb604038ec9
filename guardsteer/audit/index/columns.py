"""The wide table: one row for each line of the log, one typed column for each common field.

Every other field, and these too, are in ``body``: the record's JSON, to the byte as it was written. With
``seq`` and ``hash`` it is the line again, so nothing is lost.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import get_args

import msgspec

from guardsteer.audit.index.engine import identifier, literal
from guardsteer.audit.records import Record

__all__ = [
    "COLUMNS",
    "FIELDS",
    "LINE_TYPES",
    "PLACE",
    "VERSION",
    "Column",
    "create_lines",
    "line_of",
    "typed",
]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name and type in SQL, the record's field it comes from, and what it says."""

    name: str
    type: str
    field: str
    meaning: str


PLACE: tuple[Column, ...] = (
    Column("seq", "BIGINT", "", "number of the line in its stream, from 0"),
    Column("segment", "INTEGER", "", "number of the segment that the line is in, from 1"),
    Column("intact", "BOOLEAN", "", "false where the line's hash does not fit to the line before it"),
    Column("hash", "BLOB", "", "the hash that the line states, 32 bytes"),
    Column("time", "TIMESTAMP", "", "`time_ns` in microseconds, UTC"),
    Column("time_ns", "BIGINT", "", "UTC nanoseconds since 1970, as the record says"),
    Column("request", "VARCHAR", "", "the request's id; the rows of a part are sorted by it"),
    Column("row_start", "BIGINT", "", "`seq` of the row's `request_started`: with `stream` the row's name"),
    Column("tenant", "VARCHAR", "", "the row's tenant, on each of its records"),
    Column("principal", "VARCHAR", "", "the row's principal, on each of its records"),
)
"""What the reader of the lines says of each."""

FIELDS: tuple[Column, ...] = (
    Column("kind", "VARCHAR", "kind", "what happened"),
    Column("sequence", "INTEGER", "sequence", "which of the rows that one request was expanded into"),
    Column("track", "VARCHAR", "track", "name of the candidate; empty for the policy in force"),
    Column("mode", "VARCHAR", "mode", "enforce, shadow or off"),
    Column("guard", "VARCHAR", "guard", "id of the guard"),
    Column("policy", "VARCHAR", "policy", "name of the policy"),
    Column("policy_digest", "VARCHAR", "policy_digest", "digest of the policy"),
    Column("arm", "VARCHAR", "arm", "side of the rollout"),
    Column("source", "VARCHAR", "source", "how a policy came: wrap, reload, watch, rollback"),
    Column("approved_by", "VARCHAR", "approved_by", "who signed the policy"),
    Column("approved_at", "VARCHAR", "approved_at", "when"),
    Column("approval_key", "VARCHAR", "approval_key", "with which key"),
    Column("library", "VARCHAR", "library", "version of guardsteer"),
    Column("device", "VARCHAR", "device", "where the model's weights are"),
    Column("call", "VARCHAR", "call", "shared by all rows of one call of `generate`"),
    Column("call_row", "INTEGER", "row", "the row's place in its call"),
    Column("call_rows", "INTEGER", "rows", "rows of the call"),
    Column("overrides", "VARCHAR", "overrides", "JSON: strengths that the request chose, asked for and got"),
    Column("prompt_tokens", "BIGINT", "prompt_tokens", "length of the prompt"),
    Column("prompt_digest", "VARCHAR", "prompt_digest", "keyed digest of the prompt"),
    Column("monotonic_ns", "BIGINT", "monotonic_ns", "a clock that nobody sets; differences count"),
    Column("generated_tokens", "BIGINT", "generated_tokens", "tokens written"),
    Column("steered_tokens", "BIGINT", "steered_tokens", "tokens written while a vector acted"),
    Column("withheld_tokens", "BIGINT", "withheld_tokens", "tokens written and never released"),
    Column("limited_tokens", "BIGINT", "limited_tokens", "tokens where a budget cut a change"),
    Column("output_digest", "VARCHAR", "output_digest", "keyed digest of the output"),
    Column("reason", "VARCHAR", "reason", "why a row ended, a switch was thrown, or events were lost"),
    Column("step", "BIGINT", "step", "decode iteration, 0 is the prompt"),
    Column("flag", "VARCHAR", "flag", "name of the flag"),
    Column("up", "BOOLEAN", "up", "whether it went up"),
    Column("score", "DOUBLE", "score", "its signal then"),
    Column("threshold", "DOUBLE", "threshold", "what the score, after smoothing, was held against"),
    Column("condition", "VARCHAR", "condition", "a comparison of the rules"),
    Column("truth", "VARCHAR", "truth", "true, false or undecided"),
    Column("rule", "VARCHAR", "rule", "id of the rule"),
    Column("vector", "VARCHAR", "vector", "name of the vector"),
    Column("vector_digest", "VARCHAR", "vector_digest", "digest of the vector"),
    Column("operator", "VARCHAR", "operator", "add, subtract, ablate or clamp"),
    Column("site", "VARCHAR", "site", "where in the block"),
    Column("blocks", "INTEGER[]", "blocks", "the blocks"),
    Column("alphas", "DOUBLE[]", "alphas", "raw coefficients, block by block"),
    Column("limits", "VARCHAR[]", "limits", "the bounds that cut the strength"),
    Column("position", "BIGINT", "position", "position of the token"),
    Column("requested", "DOUBLE", "requested", "strength before every bound"),
    Column("planned", "DOUBLE", "planned", "strength before the budget where that cut it, else 0"),
    Column("applied", "DOUBLE", "applied", "strength after every bound"),
    Column("first_position", "BIGINT", "first", "first steered position"),
    Column("last_position", "BIGINT", "last", "last steered position"),
    Column("tokens", "BIGINT", "tokens", "steered positions"),
    Column("fallback_digest", "VARCHAR", "fallback_digest", "keyed digest of the fallback"),
    Column("dropped", "BIGINT", "dropped", "tokens that a revision took back; events that a stream lost"),
    Column("revision", "INTEGER", "revision", "how manieth revision of the row by the rule"),
    Column("classifier", "VARCHAR", "classifier", "name of the classifier"),
    Column("error", "VARCHAR", "error", "what was raised"),
    Column("failures", "INTEGER", "failures", "failures in a row"),
    Column("rest_s", "DOUBLE", "rest_s", "how long a classifier is left alone"),
    Column("until_step", "BIGINT", "until", "step at which a late score was there"),
    Column("switched_by", "VARCHAR", "by", "what threw the kill switch: call, file or environment"),
    Column("file", "VARCHAR", "file", "file of a refused policy, or of encrypted text"),
    Column("lost", "BIGINT", "count", "events or texts that are not in the log"),
    Column("lost_first_ns", "BIGINT", "first_ns", "time of the first of them"),
    Column("lost_last_ns", "BIGINT", "last_ns", "time of the last of them"),
)
"""What comes from the record itself."""

_DERIVED = {"time": "make_timestamp(time_ns // 1000)"}
_BODY = Column("body", "VARCHAR", "", "the record's JSON as it was written, without `seq` and `hash`")

_NAMED = repr([(column.name, column.type) for column in (*PLACE, *FIELDS, _BODY)])
VERSION = hashlib.sha256(_NAMED.encode()).hexdigest()[:12]
"""Names these columns: what was written with others is made anew."""

COLUMNS: tuple[Column, ...] = (*PLACE, *FIELDS, _BODY)
"""All columns in their order. ``day`` and ``stream`` are in the folders' names."""


LINE_TYPES: dict[str, str] = {
    **{column.name: column.type for column in PLACE if column.name not in _DERIVED},
    "body": _BODY.type,
}
"""What must be known of a line, and its type: the rest of the wide table comes from it."""


def create_lines(name: str) -> str:
    """Return the statement that makes an empty table of lines as ``typed`` reads them."""
    columns = [f"{identifier(name)} {type_}" for name, type_ in LINE_TYPES.items()]
    return f'CREATE TABLE {name} ({", ".join(columns)}, "day" DATE, "stream" VARCHAR)'


def typed(lines: str) -> str:
    """Return the query that makes wide rows of lines, in their order."""
    structure = literal(json.dumps({column.field: column.type for column in FIELDS}).replace(" ", ""))
    columns = [
        *(f"{_DERIVED.get(column.name, column.name)} AS {identifier(column.name)}" for column in PLACE),
        *(f"{_filled(column)} AS {identifier(column.name)}" for column in FIELDS),
        "body",
    ]
    return f"SELECT {', '.join(columns)} FROM (SELECT *, from_json(body, {structure}) AS field FROM {lines})"


def line_of(seq: int, body: str, hash_: bytes) -> bytes:
    """Return a line of the log, with its newline, from what the table holds of it."""
    return b'{"seq":%d,%b,"hash":"%b"}\n' % (seq, body.encode()[1:-1], hash_.hex().encode())


def _filled(column: Column) -> str:
    """Return a field, or its default where it is left out: records leave out what holds its default."""
    value = f"field.{identifier(column.field)}"
    defaults = _DEFAULTS.get(column.field)
    if not defaults:
        return value
    cases = " ".join(f"WHEN {literal(kind)} THEN {default}" for kind, default in defaults.items())
    return f"coalesce({value}, CASE field.kind {cases} END)"


def _defaults() -> dict[str, dict[str, str]]:
    """Return, for each field, the kinds that may leave it out and what it then is, as SQL writes it."""
    found: dict[str, dict[str, str]] = {}
    lists = {column.field for column in FIELDS if column.type.endswith("[]")}
    for record in get_args(Record):
        for field in msgspec.structs.fields(record):
            default = field.default
            if isinstance(default, bool | int | float):
                text = str(default).lower()
            elif isinstance(default, str):
                text = literal(default)
            elif default == () and field.name in lists:
                text = "[]"
            else:
                continue
            found.setdefault(field.name, {})[record.__struct_config__.tag] = text
    return found


_DEFAULTS = _defaults()
