"""A request generated again from its record: the same tokens? And what would have been said otherwise?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from guardsteer.core.policy import Policy
from guardsteer.errors import ReplayError
from guardsteer.evaluate.replay.changing import UNCHANGED, Changes, changed
from guardsteer.evaluate.replay.deciding import compare_acts, compare_decisions
from guardsteer.evaluate.replay.differences import doubts
from guardsteer.evaluate.replay.playing import Stage, Take, Witness, build, perform
from guardsteer.evaluate.replay.preparing import TODAY, Scene, prepare
from guardsteer.evaluate.replay.prompts import Given, find_output
from guardsteer.evaluate.replay.record import Recorded
from guardsteer.evaluate.replay.results import Parting, Replay, Said, Verdict, Version
from guardsteer.evaluate.timeline import RowRecord, gather
from guardsteer.runtime.provenance import surroundings_of

__all__ = ["replay"]


def replay(
    recorded: Recorded,
    stage: Stage,
    prompts: Iterable[Given],
    *,
    output: str | Sequence[int] | None = None,
    as_recorded: bool = False,
    alone: bool = False,
    accept: bool = False,
    home: str | Path = "policy.yaml",
    today: Policy | str | Path | None = None,
    changes: Changes = UNCHANGED,
) -> Replay:
    """Generate ``recorded`` again on ``stage`` and say what came of it.

    ``prompts`` hold that of the request and, if they are at hand, those of the other rows of its call; each
    is found by its digest. ``output`` is what was recorded, to tell at which token the replay parts.
    ``as_recorded``: strengths, halts and revisions are taken from the log, step by step; no classifier is
    needed. ``alone``: without the other rows of the call. ``home`` is where the recorded policy lay, for
    what it names by a path. ``today`` is a policy, or where it is, to be asked whether it decides the same.
    Before anything is generated, model, vectors and classifiers are held against the record.

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
    told = None if output is None else _checked(stage, recorded, output)
    take = perform(stage, recorded, scene.batch, scene.built, forced=as_recorded)
    said = _said(stage, take)
    same = take.ended is not None and take.ended.output_digest == recorded.ended.output_digest
    parting = None if same or told is None else _parting(stage, told, said)
    row = _row(take, recorded, "")
    decisions = (compare_acts if as_recorded else compare_decisions)(recorded.row, row)
    return Replay(
        request=recorded.row.key.request,
        sequence=recorded.row.key.sequence,
        policy=recorded.adopted.policy,
        policy_digest=recorded.adopted.policy_digest,
        company=scene.batch.company,
        as_recorded=as_recorded,
        same=same,
        parting=parting,
        lead=None if parting is None else _lead(scene, parting, forced=as_recorded),
        replayed=said,
        recorded=said if same else told,
        decisions=decisions,
        accepted=accepted,
        doubts=tuple(doubts(recorded, surroundings_of(stage.model), scene.batch.company, forced=as_recorded)),
        versions=tuple(_versions(scene, altered, changes, said)),
        today=None if scene.today is None else _verdict(recorded, take, scene.today),
        notes=recorded.notes,
    )


def _lead(scene: Scene, parting: Parting, *, forced: bool) -> float | None:
    """Return by how much the replay's token was above the recorded one; None where chance decided, too."""
    recorded = scene.recorded
    drawn = recorded.samples or recorded.started.settings.get("num_beams") not in (None, 1)
    if drawn or not parting.tokens or recorded.row.revisions:
        return None
    theirs, ours = parting.tokens
    witness = Witness(scene.batch.place, scene.batch.width + parting.token, ours, theirs)
    perform(scene.stage, recorded, scene.batch, scene.built, forced=forced, witness=witness)
    return witness.lead


def _versions(scene: Scene, altered: Policy | None, changes: Changes, said: Said) -> Iterable[Version]:
    stage, recorded = scene.stage, scene.recorded
    if altered is not None:
        built = build(stage, scene.built.kit.fingerprint, altered)
        batch = scene.batch.without_strengths(changes.strengths)
        found = _said(stage, perform(stage, recorded, batch, built))
        yield Version(changes.name, found, _parting(stage, said, found))
    if changes.bare:
        found = _said(stage, perform(stage, recorded, scene.batch, None))
        yield Version("bare", found, _parting(stage, said, found))


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
    return Said(take.tokens, _text(stage, take.tokens))


def _text(stage: Stage, tokens: Sequence[int]) -> str:
    text: str = stage.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text


def _checked(stage: Stage, recorded: Recorded, output: str | Sequence[int]) -> Said:
    tokens = find_output(recorded.ended, output, stage.tokenizer, stage.digest)
    if tokens is None:
        count = recorded.ended.generated_tokens
        raise ReplayError(
            f"request {recorded.row.key.request!r}: the output given is not the recorded one, of {count} "
            "tokens and another digest; give its text or token ids to the letter, or leave it out"
        )
    return Said(tokens, _text(stage, tokens))


def _parting(stage: Stage, one: Said, other: Said) -> Parting | None:
    """Return where two outputs differ; where one ends, if it begins the other."""
    if one.tokens == other.tokens:
        return None
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    end = min(len(one.tokens), len(other.tokens))
    place = next((place for place, (mine, theirs) in pairs if mine != theirs), end)
    both = _text(stage, one.tokens[:place])
    rest = [
        said.text[len(both) :] if said.text.startswith(both) else _text(stage, said.tokens[place:])
        for said in (one, other)
    ]
    pair = () if place == end else (one.tokens[place], other.tokens[place])
    return Parting(place, pair, both, *rest)
