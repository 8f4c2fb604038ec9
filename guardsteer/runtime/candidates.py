"""Candidates at the start of a generation: on what terms each takes a request, and its first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guardsteer.core.policy import ReviseSpec
from guardsteer.errors import RequestError
from guardsteer.runtime.acting import LedgerKit
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.kit import Kit
from guardsteer.runtime.ledger import Ledger, Spans
from guardsteer.runtime.probing import ProbeBank
from guardsteer.runtime.provenance import Call
from guardsteer.runtime.recording import ledger_kit, started
from guardsteer.runtime.requests import Request, missing_turns
from guardsteer.runtime.row import Row
from guardsteer.runtime.terms import Terms, terms_of
from guardsteer.runtime.tracks import Beside, Candidate, Track, failed

__all__ = ["put_beside"]


def put_beside(
    kit: Kit,
    auditor: Auditor,
    requests: Sequence[Request],
    spans: Sequence[Spans],
    *,
    width: int,
    expansion: int,
    closing: frozenset[int],
    call: Call | None,
) -> Beside | None:
    """Return the candidates of ``kit`` beside rows of ``requests``, each expanded into ``expansion``.

    None where there are none, or no log that would tell of them.
    """
    if not kit.candidates or call is None:
        return None
    tracks = []
    told = call.beside()
    for name, candidate in kit.candidates.items():
        track = Track(name, auditor.append, ProbeBank(candidate.probes) if candidate.probes else None)
        maker = _Maker(candidate, auditor, track, expansion, closing, kit.rows.revising, told)
        places = [
            row
            for group, (request, its_spans) in enumerate(zip(requests, spans, strict=True))
            for row in maker.rows(group, request, its_spans)
        ]
        tracks.append((track, places))
    return Beside(tracks, width)


class _Maker:
    """Makes the rows of one candidate."""

    def __init__(
        self,
        kit: Kit,
        auditor: Auditor,
        track: Track,
        expansion: int,
        closing: frozenset[int],
        revising: Mapping[int, ReviseSpec],
        call: Call,
    ) -> None:
        self._kit = kit
        self._auditor = auditor
        self._track = track
        self._expansion = expansion
        self._closing = closing
        # By which rules of the policy in force text may be taken back.
        self._revising = revising
        self._call = call
        self._shared: LedgerKit = ledger_kit(kit, auditor, track.name)

    def rows(self, group: int, request: Request, spans: Spans) -> list[Candidate | None]:
        """Return the rows of a request; None where the candidate is off, or failed already."""
        terms, rows, error = self._begun(group, request)
        places: list[Candidate | None] = []
        for sequence in range(self._expansion):
            policy, name = self._kit.policy, self._track.name
            self._auditor.append(
                started(policy, self._auditor, request, sequence, terms, self._call, group, name)
            )
            if error is not None:
                self._auditor.append(failed(name, request.id, sequence, error))
            if not rows:
                places.append(None)
                continue
            ledger = Ledger(self._shared, request.id, sequence, spans, terms)
            places.append(Candidate(self._track, rows[sequence], ledger, request.id, sequence))
        return places

    def _begun(self, group: int, request: Request) -> tuple[Terms, list[Row], Exception | None]:
        """Return the terms, the rows at the prompt (none where it is off), and what kept them from it."""
        terms = Terms("shadow")
        try:
            terms = self._terms(request)
            if terms.mode == "off":
                return terms, [], None
            first = Row(
                self._kit.rows,
                group=group,
                prompt=request.prompt,
                user=request.last("user"),
                context=dict(request.context),
                closing=self._closing,
                terms=terms,
                revising=self._revising,
            )
            return terms, [first, *(first.fork() for _ in range(self._expansion - 1))], None
        except Exception as error:
            return terms, [], error

    def _terms(self, request: Request) -> Terms:
        """Return a request's terms, as if the candidate were in force; its binding enforces nothing."""
        policy = self._kit.policy
        missing = missing_turns(request, policy)
        if missing:
            raise RequestError(missing)
        return terms_of(policy, request.id, request.context, request.wishes)
