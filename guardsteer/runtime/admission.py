"""From a call's arguments to rows, and from its result to the end of their audit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guardsteer.core.events import RequestEnded, RequestFailed
from guardsteer.errors import RequestError
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.candidates import put_beside
from guardsteer.runtime.course import Final
from guardsteer.runtime.generation import Generation
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.ledger import Ledger, Spans
from guardsteer.runtime.probing import ProbeBank
from guardsteer.runtime.provenance import Call
from guardsteer.runtime.recording import keep_text, ledger_kit, started
from guardsteer.runtime.requests import Request, attention_mask_of, read_requests
from guardsteer.runtime.row import Row, Step
from guardsteer.runtime.switch import Switch

__all__ = ["Admission", "admit"]


@dataclass(frozen=True, slots=True)
class Admission:
    """The requests of one call, each expanded into ``expansion`` rows; ``width`` is the padded prompt's."""

    requests: tuple[Request, ...]
    spans: tuple[Spans, ...]
    rows: tuple[Row, ...]
    width: int
    expansion: int
    closing: frozenset[int]

    def begin(
        self, kit: Kit, auditor: Auditor, switch: Switch, *, beams: bool, call: Call | None
    ) -> Generation:
        """Record the requests and return the generation that runs them; ``call`` None: nothing is kept."""
        ledgers: list[Ledger] = []
        if call is not None:
            shared = ledger_kit(kit, auditor)
            for row, (request, spans) in enumerate(zip(self.requests, self.spans, strict=True)):
                keep_text(auditor, request, call, row, "prompt", request.prompt)
                for sequence in range(self.expansion):
                    auditor.append(started(kit.policy, auditor, request, sequence, request.terms, call, row))
                    ledgers.append(Ledger(shared, request.id, sequence, spans, request.terms))
        return Generation(
            list(self.rows),
            self.spans,
            ledgers,
            width=self.width,
            composer=kit.composer,
            probes=ProbeBank(kit.probes) if kit.probes else None,
            beams=beams,
            blackout=auditor.blackout(kit.policy),
            switch=switch,
            points=frozenset(kit.points),
            beside=put_beside(
                kit,
                auditor,
                self.requests,
                self.spans,
                width=self.width,
                expansion=self.expansion,
                closing=self.closing,
                call=call,
            ),
        )

    def fail(self, generation: Generation, auditor: Auditor, error: BaseException) -> None:
        """Record that the call raised; what was applied until then is told first, and no more."""
        for place, ledger in enumerate(generation.ledgers):
            row = generation.rows[place]
            if not generation.beams:
                ledger.tell(row.step, generation.applied)
                ledger.close(row.step, generation.applied)
            group, sequence = divmod(place, self.expansion)
            auditor.append(
                RequestFailed(
                    time_ns=time.time_ns(),
                    request=self.requests[group].id,
                    sequence=sequence,
                    error=type(error).__name__,
                    monotonic_ns=time.monotonic_ns(),
                )
            )
            for candidate in generation.beside.at(place) if generation.beside is not None else ():
                if not generation.beams:
                    candidate.follow(row.step, generation.applied)
                candidate.fail(error)

    def end(
        self,
        generation: Generation,
        auditor: Auditor,
        sequences: Sequence[Sequence[int]],
        eos: frozenset[int],
        pad: int | None,
        finals: Sequence[Final] | None = None,
        call: Call | None = None,
    ) -> None:
        """Record what the rows that were returned went through; ``finals`` where columns do not tell."""
        if not auditor.on:
            return
        returned = len(sequences) // len(self.requests)
        cuts = generation.cuts.read(len(generation.rows))
        for place, ids in enumerate(sequences):
            group, sequence = divmod(place, returned)
            written, ended = _trim(ids[self.width :], eos, pad)
            row_place = place if returned == self.expansion and not generation.beams else None
            newest = self._newest(generation, group, row_place, written)
            ledger = generation.ledgers[group * self.expansion + sequence]
            final = Final(written, last=max(len(written) - 1, 0)) if finals is None else finals[place]
            written, last = final.tokens, final.last
            ledger.tell(newest, last)
            ledger.close(newest, last)
            reason = "halted" if _halted(newest, last) else "eos" if ended else "length_or_stop"
            digest = auditor.digest_of(written)
            keep_text(auditor, self.requests[group], call, group, "output", written, sequence)
            auditor.append(
                RequestEnded(
                    time_ns=time.time_ns(),
                    request=self.requests[group].id,
                    sequence=sequence,
                    generated_tokens=len(written),
                    steered_tokens=ledger.steered(newest, last, final.steps),
                    output_digest=digest,
                    reason=reason,
                    withheld_tokens=final.withheld,
                    limited_tokens=max(
                        # Which beam became which sequence is not known: the most of the request's.
                        cuts[group * self.expansion : (group + 1) * self.expansion]
                        if row_place is None
                        else cuts[row_place : row_place + 1]
                    ),
                    monotonic_ns=time.monotonic_ns(),
                )
            )
            place = group * self.expansion + sequence
            for candidate in generation.beside.at(place) if generation.beside is not None else ():
                candidate.end(newest, last, tokens=len(written), output_digest=digest, reason=reason)

    def _newest(self, generation: Generation, group: int, place: int | None, written: Sequence[int]) -> Step:
        """Return the step that the last pass of a returned sequence decided."""
        if place is not None:
            return generation.rows[place].step
        key = self.rows[group * self.expansion].prompt_key
        step = generation.history[group, key]
        for token in written[:-1]:
            key = hash((key, token))
            step = generation.history.get((group, key), step)
        return step


def admit(
    kit: Kit,
    kwargs: Mapping[str, Any],
    guard: Any,
    *,
    eos: frozenset[int],
    pad: int | None,
    expansion: int,
) -> Admission:
    """Return the rows of a call, each with the decision for its prompt taken.

    Raises ``RequestError`` where ids, mask, requests and policy do not fit together.
    """
    input_ids = kwargs.get("input_ids")
    if not isinstance(input_ids, Tensor) or input_ids.dim() != 2 or 0 in input_ids.shape:
        got = tuple(input_ids.shape) if isinstance(input_ids, Tensor) else type(input_ids).__name__
        raise RequestError(f"input_ids: got {got}, expected a tensor [row, column] with at least one token")
    mask = attention_mask_of(input_ids, kwargs.get("attention_mask"), pad, eos)
    requests = read_requests(
        input_ids, mask, guard, kit.policy, [other.policy for other in kit.candidates.values()]
    )
    closing = eos if pad is None else eos | {pad}
    rows: list[Row] = []
    for group, request in enumerate(requests):
        first = Row(
            kit.rows,
            group=group,
            prompt=request.prompt,
            user=request.last("user"),
            context=dict(request.context),
            closing=closing,
            terms=request.terms,
        )
        rows += [first, *(first.fork() for _ in range(expansion - 1))]
    return Admission(
        requests=tuple(requests),
        spans=tuple(Spans.of(len(r.prompt), r.all("assistant")) for r in requests),
        rows=tuple(rows),
        width=input_ids.shape[1],
        expansion=expansion,
        closing=closing,
    )


def _trim(written: Sequence[int], eos: frozenset[int], pad: int | None) -> tuple[list[int], bool]:
    """Cut a row's tokens after its end token; else cut the padding behind it."""
    for place, token in enumerate(written):
        if token in eos:
            return list(written[: place + 1]), True
    tokens = list(written)
    while tokens and tokens[-1] == pad:
        tokens.pop()
    return tokens, False


def _halted(newest: Step, last: int) -> bool:
    step: Step | None = newest
    while step is not None:
        if step.plan.halt >= 0 and step.index <= last:
            return True
        step = step.parent
    return False
