"""The tables that questions are asked of: the wide one, and views of it with readable names.

``all_records`` is everything; ``records`` and the others are what a ``Window`` leaves of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardsteer.audit.index.columns import COLUMNS
from guardsteer.audit.index.engine import literal
from guardsteer.audit.index.manifest import Indexed

__all__ = ["VIEWS", "Window", "base_table", "views"]


@dataclass(frozen=True, slots=True)
class Window:
    """Which records count: from ``since_ns`` up to before ``until_ns`` (UTC), of one tenant, of one rule.

    Of requests and activations the beginning counts. With ``rule``, requests where that rule fired, and of
    what rules did only what that one did.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    tenant: str | None = None
    rule: str | None = None


VIEWS = ("records", "requests", "activations", "flags", "rules", "streams", "all_records")
"""What ``--sql`` may read."""

_ALL = ", ".join(f'"{column.name}"' for column in COLUMNS)

_REQUESTS = """
SELECT began.stream, began.row_start, began.request, began.sequence, began.tenant, began.principal,
    began.day, began.time AS started, coalesce(done.time, failed.time) AS ended,
    -- The clock that nobody sets, where it was recorded.
    CASE WHEN began.monotonic_ns > 0 AND coalesce(done.monotonic_ns, failed.monotonic_ns) > 0
        THEN coalesce(done.monotonic_ns, failed.monotonic_ns) - began.monotonic_ns
        ELSE coalesce(done.time_ns, failed.time_ns) - began.time_ns END / 1e6 AS duration_ms,
    CASE WHEN done.seq IS NOT NULL THEN done.reason WHEN failed.seq IS NOT NULL THEN 'failed'
        ELSE 'open' END AS outcome,
    failed.error, began.mode, began.arm, began.guard, began.policy_digest, began."call", began.call_row,
    began.call_rows, began.prompt_tokens, done.generated_tokens, done.steered_tokens, done.withheld_tokens,
    done.limited_tokens, began.prompt_digest, done.output_digest, began.overrides
FROM (SELECT * FROM all_records WHERE kind = 'request_started' AND track = ''{where}) began
LEFT JOIN (SELECT * FROM all_records WHERE kind = 'request_ended' AND track = '') done
    USING (stream, row_start)
LEFT JOIN (SELECT * FROM all_records WHERE kind = 'request_failed' AND track = '') failed
    USING (stream, row_start)
"""

_ACTIVATIONS = """
SELECT stream, row_start, request, sequence, tenant, principal, day, track, mode, rule, vector,
    vector_digest, operator, site, blocks, alphas, limits, requested, planned, applied, time AS began,
    lead(CASE WHEN kind = 'activation_ended' THEN time END) OVER channel AS ended, position,
    lead(first_position) OVER channel AS first_position, lead(last_position) OVER channel AS last_position,
    lead(tokens) OVER channel AS tokens
FROM all_records
WHERE kind IN ('activation_began', 'activation_ended'){where}
WINDOW channel AS (PARTITION BY stream, row_start, track, mode, rule, vector, operator ORDER BY seq)
QUALIFY kind = 'activation_began'{having}
"""

_FLAGS = """
SELECT stream, row_start, request, sequence, tenant, principal, day, time, track, step, flag, up, score,
    threshold
FROM records WHERE kind = 'flag_changed'
"""

_RULES = """
SELECT stream, row_start, request, sequence, tenant, principal, day, time, track, mode, step, rule,
    CASE kind WHEN 'rule_fired' THEN 'fired' WHEN 'rule_released' THEN 'released'
        WHEN 'row_halted' THEN 'halted' ELSE 'revised' END AS did, position, dropped, revision
FROM records WHERE kind IN ('rule_fired', 'rule_released', 'row_halted', 'row_revised')
"""


def base_table(folders: Iterable[tuple[Path, Indexed]]) -> str:
    """Return the statement that makes ``all_records`` of the parts of streams, each below its folder.

    A part that holds more than the manifest knows is being added to: the rest does not count yet.
    """
    whole: list[str] = []
    grown: list[str] = []
    for folder, indexed in folders:
        for part in indexed.parts:
            path = folder / part.path
            if path.stat().st_size == part.bytes:
                whole.append(literal(str(path)))
            else:
                grown.append(_read([literal(str(path))], f" WHERE seq <= {part.last}"))
    selects = ([_read(whole)] if whole else []) + grown
    return f"CREATE VIEW all_records AS {' UNION ALL '.join(selects or [_EMPTY])}"


def views(window: Window) -> list[str]:
    """Return the statements that make the views of what a window leaves."""
    of_time = [
        *([f"time_ns >= {window.since_ns}"] if window.since_ns is not None else []),
        *([f"time_ns < {window.until_ns}"] if window.until_ns is not None else []),
    ]
    # The folders of other days are not even opened.
    of_day = [
        *([f"day >= {_day(window.since_ns)}"] if window.since_ns is not None else []),
        *([f"day <= {_day(window.until_ns)}"] if window.until_ns is not None else []),
    ]
    whose = [f"tenant = {literal(window.tenant)}"] if window.tenant is not None else []
    records, requests, activations = list(whose), list(whose), list(whose)
    if window.rule is not None:
        rule = literal(window.rule)
        fired = f"SELECT stream, row_start FROM all_records WHERE kind = 'rule_fired' AND rule = {rule}"
        records.append(f"(rule = {rule} OR (rule IS NULL AND (stream, row_start) IN ({fired})))")
        requests.append(f"(stream, row_start) IN ({fired})")
        activations.append(f"rule = {rule}")
    of_records = " AND ".join(["true", *of_day, *of_time, *records])
    return [
        f"CREATE VIEW records AS SELECT * FROM all_records WHERE {of_records}",
        "CREATE VIEW requests AS "
        + _REQUESTS.format(where="".join(f" AND {each}" for each in [*of_day, *of_time, *requests])),
        "CREATE VIEW activations AS "
        + _ACTIVATIONS.format(
            where="".join(f" AND {each}" for each in activations),
            having="".join(f" AND {each}" for each in of_time),
        ),
        f"CREATE VIEW flags AS {_FLAGS}",
        f"CREATE VIEW rules AS {_RULES}",
    ]


def _read(paths: Sequence[str], where: str = "") -> str:
    return (
        f"SELECT day, stream, {_ALL} FROM read_parquet([{', '.join(paths)}], hive_partitioning = true, "
        f"hive_types = {{'day': DATE, 'stream': VARCHAR}}){where}"
    )


def _day(time_ns: int) -> str:
    return f"make_timestamp({time_ns // 1000})::DATE"


_EMPTY = (
    "SELECT NULL::DATE AS day, NULL::VARCHAR AS stream, "
    + ", ".join(f'NULL::{column.type} AS "{column.name}"' for column in COLUMNS)
    + " WHERE false"
)
