"""A request generated again from its record: the same tokens? And what would have been said otherwise?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from guardsteer.core.policy import Policy
from guardsteer.errors import ReplayError
from guardsteer.evaluate.replay.changing import UNCHANGED, Changes, changed
from guardsteer.evaluate.replay.deciding import compare_decisions
from guardsteer.evaluate.replay.differences import doubts, stopped_throughout
from guardsteer.evaluate.replay.playing import Stage, Take, build, perform
from guardsteer.evaluate.replay.preparing import TODAY, Scene, prepare
from guardsteer.evaluate.replay.prompts import Given, pack
from guardsteer.evaluate.replay.record import Recorded
from guardsteer.evaluate.replay.results import Replay, Said, Verdict, Version
from guardsteer.evaluate.timeline import RowRecord, gather
from guardsteer.runtime.provenance import surroundings_of

__all__ = ["replay"]


def replay(
    recorded: Recorded,
    stage: Stage,
    prompts: Iterable[Given],
    *,
    output: Sequence[int] | None = None,
    as_recorded: bool = False,
    alone: bool = False,
    accept: bool = False,
    home: str | Path = "policy.yaml",
    today: Policy | None = None,
    changes: Changes = UNCHANGED,
) -> Replay:
    """Generate ``recorded`` again on ``stage`` and say what came of it.

    ``prompts`` hold that of the request and, if they are at hand, those of the other rows of its call; each
    is found by its digest. ``output`` are the recorded tokens, to tell at which one the replay parts.
    ``as_recorded``: strengths, halts and revisions are taken from the log, step by step; no classifier is
    needed. ``alone``: without the other rows of the call. ``home`` is where the recorded policy lay, for
    what it names by a path. ``today`` is a policy to be asked whether it decides the same. Before anything is
    generated, model, vectors and classifiers are held against the record.

    Raises ``ReplayError`` for a digest key that is not the log's, a prompt that is not the recorded one,
    and (unless ``accept``) with everything that is not what was recorded; ``PolicyError``, ``VectorError``
    and whatever else ``guardsteer.wrap`` raises for a policy that cannot be built here.
    """
    if as_recorded and changes.of_policy:
        raise ReplayError(
            "as recorded, nothing is decided, so what another policy would do cannot be told: leave out "
            "as_recorded, or the changes of rules and strengths"
        )
    scene, accepted = prepare(
        recorded,
        stage,
        list(prompts),
        as_recorded=as_recorded,
        alone=alone,
        accept=accept,
        home=home,
        today=today,
    )
    altered = changed(scene.policy, changes) if changes.of_policy else None
    take = perform(
        stage, recorded, scene.batch, scene.built, forced=as_recorded, stopped=stopped_throughout(recorded)
    )
    said = _said(stage, take)
    told = None if output is None else _checked(stage, recorded, output)
    same = take.ended is not None and take.ended.output_digest == recorded.ended.output_digest
    row = _row(take, recorded, "")
    decisions = compare_decisions(recorded.row, row)
    if as_recorded:
        decisions = replace(decisions, flags={}, rules={})
    return Replay(
        request=recorded.row.key.request,
        sequence=recorded.row.key.sequence,
        policy=recorded.adopted.policy,
        policy_digest=recorded.adopted.policy_digest,
        company=scene.batch.company,
        as_recorded=as_recorded,
        same=same,
        parts_at=None if same or told is None else _parting(told.tokens, said.tokens),
        replayed=said,
        recorded=said if same else told,
        decisions=decisions,
        accepted=accepted,
        doubts=tuple(doubts(recorded, surroundings_of(stage.model), scene.batch.company, forced=as_recorded)),
        versions=tuple(_versions(scene, altered, changes, said)),
        today=None if today is None else _verdict(recorded, take, today),
        notes=recorded.notes,
    )


def _versions(scene: Scene, altered: Policy | None, changes: Changes, said: Said) -> Iterable[Version]:
    stage, recorded = scene.stage, scene.recorded
    if altered is not None:
        built = build(stage, scene.built.kit.fingerprint, altered)
        batch = scene.batch.without_strengths(changes.strengths)
        yield _version(changes.name, _said(stage, perform(stage, recorded, batch, built)), said)
    if changes.bare:
        yield _version("bare", _said(stage, perform(stage, recorded, scene.batch, None)), said)


def _version(name: str, found: Said, said: Said) -> Version:
    return Version(name, found, _parting(said.tokens, found.tokens))


def _verdict(recorded: Recorded, take: Take, policy: Policy) -> Verdict:
    row = _row(take, recorded, TODAY)
    started = row.started
    return Verdict(
        policy=policy.name,
        policy_digest=policy.digest,
        mode=started.mode if started is not None else "",
        decisions=compare_decisions(recorded.row, row),
        error=row.failed.error if row.failed is not None else "",
    )


def _row(take: Take, recorded: Recorded, track: str) -> RowRecord:
    request, sequence = recorded.row.key.request, recorded.row.key.sequence
    gathered = gather(take.events, request)
    return next(
        row for row in gathered.of_request(request) if (row.key.sequence, row.track) == (sequence, track)
    )


def _said(stage: Stage, take: Take) -> Said:
    return _as_said(stage, take.tokens)


def _as_said(stage: Stage, tokens: Sequence[int]) -> Said:
    text: str = stage.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return Said(tuple(tokens), text)


def _checked(stage: Stage, recorded: Recorded, output: Sequence[int]) -> Said:
    if stage.digest(pack(output)) != recorded.ended.output_digest:
        raise ReplayError(
            f"request {recorded.row.key.request!r}: the {len(output)} tokens given as its output are not "
            f"those that were recorded ({recorded.ended.generated_tokens} tokens, another digest)"
        )
    return _as_said(stage, output)


def _parting(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Return the first place at which two sequences differ; where one ends, if it begins the other."""
    for place, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return place
    return None if len(one) == len(other) else min(len(one), len(other))
