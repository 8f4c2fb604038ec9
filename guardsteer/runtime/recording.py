"""How a row's record begins: on what terms it was admitted, and the ledger that goes on with it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from guardsteer.core.events import RequestStarted
from guardsteer.core.policy import Policy
from guardsteer.runtime.acting import LedgerKit
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.provenance import Call
from guardsteer.runtime.requests import Request
from guardsteer.runtime.terms import Terms

__all__ = ["keep_text", "ledger_kit", "started"]


def ledger_kit(kit: Kit, auditor: Auditor, track: str = "") -> LedgerKit:
    """Return what the ledgers of rows under ``kit`` share."""
    return LedgerKit(
        policy=kit.policy,
        scores_of=kit.program.scores_of,
        composer=kit.composer,
        append=auditor.append,
        fallback_digest=auditor.digest_of(kit.fallback),
        requested=kit.requested,
        track=track,
    )


def started(
    policy: Policy,
    auditor: Auditor,
    request: Request,
    sequence: int,
    terms: Terms,
    call: Call,
    row: int,
    track: str = "",
) -> RequestStarted:
    """Return the event that the request at ``row`` of a call was admitted under ``policy`` on these terms."""
    return RequestStarted(
        time_ns=time.time_ns(),
        request=request.id,
        sequence=sequence,
        track=track,
        guard=auditor.guard_id,
        policy_digest=policy.digest,
        context=dict(request.context),
        prompt_digest=auditor.digest_of(request.prompt),
        prompt_tokens=len(request.prompt),
        settings=dict(call.settings),
        mode=terms.mode,
        arm=terms.arm,
        overrides=dict(terms.chosen),
        monotonic_ns=time.monotonic_ns(),
        tenant=str(request.context.get("tenant", "")),
        principal=request.principal,
        call=call.id,
        row=row,
        rows=call.rows,
        width=call.width,
        seed=call.seed,
        rng="" if row or sequence else call.rng,
        turns=request.turns,
        unrecorded=call.unrecorded,
        text="" if auditor.keeper is None or track else auditor.keeper.name(call, row),
    )


def keep_text(
    auditor: Auditor,
    request: Request,
    call: Call | None,
    row: int,
    part: str,
    tokens: Sequence[int],
    sequence: int = 0,
) -> None:
    """Keep a row's prompt or output, where text is kept; encrypted, and by another thread."""
    keeper = auditor.keeper
    if keeper is not None and call is not None:
        keeper.keep(keeper.name(call, row), request, part, sequence, tokens)
