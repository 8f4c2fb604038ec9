"""The ready-made questions: each a query over the tables, its words, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guardsteer.audit.index.engine import literal
from guardsteer.errors import AuditError

__all__ = ["QUESTIONS", "Question", "query_of"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question: what it tells, its query, the columns it can be told ``by``, and how many rows (0: all).

    ``whole`` is true where it is about the log itself: a tenant or a rule has no part in it.
    """

    tells: str
    sql: str
    by: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()
    limit: int = 0
    whole: bool = False
    request: bool = False


_PLACES = ("tenant", "principal", "day", "stream")

QUESTIONS: dict[str, Question] = {
    "activations": Question(
        "how often and how strongly vectors acted",
        """
SELECT mode, {by}, count(*) FILTER (kind = 'activation_began') AS activations,
    count(DISTINCT hash(stream, row_start)) AS requests, sum(tokens)::BIGINT AS tokens,
    round(sum(applied * tokens) / sum(tokens), 4) AS mean_strength,
    arg_max(applied, [abs(applied), applied]) AS strongest
FROM records WHERE kind IN ('activation_began', 'activation_ended') AND track = ''
GROUP BY ALL ORDER BY activations DESC, {by}, mode
""",
        ("rule", "vector", "operator", "site", *_PLACES),
        ("rule", "vector"),
    ),
    "steered": Question(
        "the share of tokens that were written while a vector acted",
        """
SELECT {by}, count(*) AS requests, count(*) FILTER (steered_tokens > 0) AS steered_requests,
    sum(generated_tokens)::BIGINT AS tokens, sum(steered_tokens)::BIGINT AS steered_tokens,
    round(sum(steered_tokens) / nullif(sum(generated_tokens), 0), 4) AS share
FROM records WHERE kind = 'request_ended' AND track = ''
GROUP BY ALL ORDER BY ALL
""",
        _PLACES,
        ("day",),
    ),
    "strengths": Question(
        "how the applied strengths are distributed",
        """
SELECT mode, operator, {by}, count(*) AS activations, sum(tokens)::BIGINT AS tokens,
    min(applied) AS min, quantile_disc(applied, 0.1) AS p10, quantile_disc(applied, 0.25) AS p25,
    quantile_disc(applied, 0.5) AS median, quantile_disc(applied, 0.75) AS p75,
    quantile_disc(applied, 0.9) AS p90, max(applied) AS max
FROM records WHERE kind = 'activation_ended' AND track = ''
GROUP BY ALL ORDER BY ALL
""",
        ("vector", "rule", *_PLACES),
        ("vector",),
    ),
    "bounds": Question(
        "which bounds cut strengths, how often and by how much",
        """
SELECT mode, bound, {by}, count(*) AS activations,
    round(avg(requested), 4) AS mean_requested, round(avg(applied), 4) AS mean_applied
FROM (SELECT *, unnest(limits) AS bound FROM records
    WHERE kind = 'activation_began' AND track = '' AND len(limits) > 0)
GROUP BY ALL ORDER BY activations DESC, {by}, mode, bound
""",
        ("vector", "rule", *_PLACES),
        ("vector",),
    ),
    "shadow": Question(
        "what was enforced beside what would have happened",
        """
SELECT {by}, mode, count(*) FILTER (kind = 'rule_fired') AS fired,
    count(DISTINCT hash(stream, row_start)) AS requests,
    count(*) FILTER (kind = 'activation_began') AS activations,
    coalesce(sum(tokens), 0)::BIGINT AS tokens, count(*) FILTER (kind = 'row_halted') AS halts,
    count(*) FILTER (kind = 'row_revised') AS revisions
FROM records
WHERE kind IN ('rule_fired', 'activation_began', 'activation_ended', 'row_halted', 'row_revised')
GROUP BY ALL ORDER BY ALL
""",
        ("track", "rule", *_PLACES),
        ("track", "rule"),
    ),
    "rules": Question(
        "how often each rule fired, halted and revised",
        """
SELECT {by}, mode, count(*) FILTER (kind = 'rule_fired') AS fired,
    count(DISTINCT hash(stream, row_start)) AS requests,
    count(*) FILTER (kind = 'row_halted') AS halts, count(*) FILTER (kind = 'row_revised') AS revisions,
    min(time) AS first, max(time) AS last
FROM records WHERE kind IN ('rule_fired', 'row_halted', 'row_revised') AND track = ''
GROUP BY ALL ORDER BY fired DESC, {by}, mode
""",
        ("rule", *_PLACES),
        ("rule",),
    ),
    "flags": Question(
        "how often each flag went up, at which step and score",
        """
SELECT {by}, count(*) AS raised, count(DISTINCT hash(stream, row_start)) AS requests,
    quantile_disc(step, 0.5) AS median_step, round(avg(score), 4) AS mean_score
FROM records WHERE kind = 'flag_changed' AND up AND track = ''
GROUP BY ALL ORDER BY raised DESC, {by}
""",
        ("flag", *_PLACES),
        ("flag",),
    ),
    "halts": Question(
        "rows that a rule ended, and text that it took back, newest first",
        """
SELECT time, CASE kind WHEN 'row_halted' THEN 'halted' ELSE 'revised' END AS did, mode, rule, request,
    sequence, tenant, step, position, dropped
FROM records WHERE kind IN ('row_halted', 'row_revised') AND track = ''
ORDER BY time DESC, stream, seq
""",
        limit=50,
    ),
    "requests": Question(
        "the requests, newest first",
        """
SELECT started, request, sequence, tenant, principal, mode, arm, outcome,
    round(duration_ms, 1) AS duration_ms, prompt_tokens, generated_tokens, steered_tokens
FROM requests ORDER BY started DESC, stream, row_start
""",
        limit=50,
    ),
    "request": Question(
        "what was recorded of one request, in order",
        """
SELECT time, stream, seq, sequence, track, kind, mode, step, coalesce(rule, flag, classifier) AS name, vector,
    score, applied, tokens, coalesce(reason, error) AS reason
FROM records WHERE request = {request} ORDER BY stream, seq
""",
        request=True,
    ),
    "slowest": Question(
        "the requests that took longest",
        """
SELECT round(duration_ms, 1) AS duration_ms,
    round(duration_ms / nullif(generated_tokens, 0), 2) AS ms_per_token, started,
    request, sequence, tenant, outcome, prompt_tokens, generated_tokens, steered_tokens
FROM requests WHERE duration_ms IS NOT NULL ORDER BY duration_ms DESC, stream, row_start
""",
        limit=50,
    ),
    "tenants": Question(
        "each tenant's requests, steered share, halts and failures",
        """
SELECT {by}, count(*) FILTER (kind = 'request_started') AS requests,
    coalesce(sum(generated_tokens), 0)::BIGINT AS tokens,
    coalesce(sum(steered_tokens), 0)::BIGINT AS steered_tokens,
    round(sum(steered_tokens) / nullif(sum(generated_tokens), 0), 4) AS share,
    count(*) FILTER (kind = 'row_halted' AND mode = 'enforce') AS halts,
    count(*) FILTER (kind = 'request_failed') AS failed
FROM records
WHERE kind IN ('request_started', 'request_ended', 'request_failed', 'row_halted') AND track = ''
GROUP BY ALL ORDER BY requests DESC, {by}
""",
        ("tenant", "principal", "day"),
        ("tenant",),
    ),
    "overrides": Question(
        "requests that chose strengths of their own: what they asked for and what they got",
        """
SELECT time, request, sequence, tenant, principal, vector, asked, got
FROM (SELECT * EXCLUDE (vector), name AS vector, (overrides->name->>0)::DOUBLE AS asked,
        (overrides->name->>1)::DOUBLE AS got
    FROM (SELECT *, unnest(json_keys(overrides)) AS name
        FROM records WHERE kind = 'request_started' AND overrides IS NOT NULL AND track = ''))
ORDER BY time DESC, stream, seq, vector
""",
        limit=50,
    ),
    "errors": Question(
        "what failed, was late or was refused, and how often",
        """
SELECT kind, {by}, coalesce(error, reason, '') AS error, count(*) AS times, sum(lost)::BIGINT AS lost,
    count(DISTINCT hash(stream, row_start)) FILTER (row_start IS NOT NULL) AS requests,
    min(time) AS first, max(time) AS last
FROM records
WHERE kind IN ('classifier_failed', 'classifier_late', 'classifier_tripped', 'request_failed',
    'policy_refused', 'records_dropped', 'text_dropped')
GROUP BY ALL ORDER BY times DESC, {by}, kind, error
""",
        ("classifier", "track", *_PLACES),
        ("classifier",),
    ),
    "policies": Question(
        "which policy was in force when, who approved it, and how many requests it admitted",
        """
WITH adopted AS (
    SELECT *, lead(time) OVER guards AS until, lead(time_ns) OVER guards AS until_ns
    FROM all_records WHERE kind = 'policy_adopted'
    WINDOW guards AS (PARTITION BY guard, track ORDER BY time_ns, stream, seq)),
admitted AS (
    SELECT a.stream, a.seq, count(*) AS requests
    FROM (SELECT guard, track, time_ns FROM records WHERE kind = 'request_started') r
    JOIN adopted a ON r.guard = a.guard AND r.track = a.track AND r.time_ns >= a.time_ns
        AND (a.until_ns IS NULL OR r.time_ns < a.until_ns)
    GROUP BY ALL)
SELECT time AS since, until, track, policy, policy_digest, source, approved_by, approved_at, approval_key,
    guard, coalesce(requests, 0) AS requests
FROM adopted LEFT JOIN admitted USING (stream, seq)
ORDER BY since, stream, seq
""",
    ),
    "gaps": Question(
        "what is not there: lost events, missing or altered lines, rows and streams without an end",
        """
WITH numbers AS (
    SELECT stream, min(seq) AS first, max(seq) AS last, count(*) AS lines,
        count(*) FILTER (NOT intact) AS altered
    FROM all_records GROUP BY stream),
holes AS (
    SELECT stream, seq + 1 AS first, following - 1 AS last, time AS since, following_time AS until FROM (
        SELECT stream, seq, time, lead(seq) OVER lines AS following, lead(time) OVER lines AS following_time
        FROM all_records WHERE stream IN (SELECT stream FROM numbers WHERE last - first + 1 <> lines)
        WINDOW lines AS (PARTITION BY stream ORDER BY seq))
    WHERE following > seq + 1)
SELECT 'events lost by the writer' AS gap, stream, seq AS first, seq AS last, lost AS count,
    make_timestamp(lost_first_ns // 1000) AS since, make_timestamp(lost_last_ns // 1000) AS until, reason
FROM all_records WHERE kind IN ('records_dropped', 'text_dropped')
UNION ALL BY NAME
SELECT 'lines missing' AS gap, stream, first, last, last - first + 1 AS count, since, until,
    'not a record, or taken away: see audit verify' AS reason FROM holes
UNION ALL BY NAME
SELECT 'lines missing' AS gap, stream, 0 AS first, first - 1 AS last, first AS count,
    'the stream begins later: earlier segments are gone' AS reason FROM numbers WHERE first > 0
UNION ALL BY NAME
SELECT 'lines altered' AS gap, stream, first, last, altered AS count, 'see audit verify' AS reason
FROM numbers WHERE altered > 0
UNION ALL BY NAME
SELECT 'lines not read' AS gap, stream, lines AS first, committed - 1 AS last, committed - lines AS count,
    'committed, and not in the segments: see audit verify' AS reason FROM streams WHERE lines < committed
UNION ALL BY NAME
SELECT 'stream without a checkpoint' AS gap, stream, lines AS count, 'see audit verify' AS reason
FROM streams WHERE committed IS NULL
UNION ALL BY NAME
SELECT 'stream without an end' AS gap, stream, lines AS count,
    'the process runs, or was killed' AS reason FROM streams WHERE NOT closed
UNION ALL BY NAME
SELECT 'requests without an end' AS gap, stream, min(row_start) AS first, max(row_start) AS last,
    count(*) AS count, min(started) AS since, max(started) AS until,
    'running, or the process was killed' AS reason
FROM requests WHERE outcome = 'open' GROUP BY stream
ORDER BY ALL
""",
        whole=True,
    ),
    "coverage": Question(
        "how far each stream is read, committed and verified",
        "SELECT * FROM streams ORDER BY stream",
        whole=True,
    ),
    "stops": Question(
        "when the kill switch was thrown and taken back, by what, and how long it was off",
        """
SELECT time AS stopped, switched_by AS stopped_by, reason, resumed, resumed_by,
    round(epoch(resumed - time), 3) AS stopped_s, guard
FROM (SELECT *, lead(time) OVER guards AS resumed, lead(switched_by) OVER guards AS resumed_by
    FROM records WHERE kind IN ('stopped', 'resumed')
    WINDOW guards AS (PARTITION BY guard ORDER BY time_ns, stream, seq))
WHERE kind = 'stopped' ORDER BY time, stream, seq
""",
        whole=True,
    ),
}
"""All of them by name; ``{by}`` stands for the columns that it is told by."""


def query_of(name: str, by: Sequence[str] = (), *, request: str = "", limit: int | None = None) -> str:
    """Return a question as SQL, told ``by`` other columns than usual, with at most ``limit`` rows (0: all).

    Raises ``AuditError`` for a question or column that there is not.
    """
    question = QUESTIONS.get(name)
    if question is None:
        raise AuditError(f"{name!r} is no question; expected one of {', '.join(QUESTIONS)}")
    unknown = [column for column in by if column not in question.by]
    if unknown:
        may = f"it is told by {', '.join(question.by)}" if question.by else "it is told in one way alone"
        raise AuditError(f"question {name!r} cannot be told by {', '.join(unknown)}: {may}")
    if bool(request) != question.request:
        need = "needs the id of a request" if question.request else "is not about one request"
        raise AuditError(f"question {name!r} {need}")
    columns = ", ".join(dict.fromkeys(by or question.usual))
    sql = question.sql.strip().replace("{by}", columns).replace("{request}", literal(request))
    rows = question.limit if limit is None else limit
    return f"{sql}\nLIMIT {rows}" if rows else sql
