"""All that a replay needs, checked before anything is generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guardsteer.audit.keys import key_name
from guardsteer.core.policy import ClassifierSpec, Policy
from guardsteer.errors import AssetError, ReplayError
from guardsteer.evaluate.replay.differences import mismatches, model_mismatches, short
from guardsteer.evaluate.replay.forcing import unconditional
from guardsteer.evaluate.replay.places import Batch, lay_out
from guardsteer.evaluate.replay.playing import Built, Stage, beside, binding_of, build
from guardsteer.evaluate.replay.prompts import Given, Prompt, find_prompts
from guardsteer.evaluate.replay.record import Recorded
from guardsteer.rules import parse_policy
from guardsteer.rules.names import REQUEST_KEYS

__all__ = ["TODAY", "Scene", "prepare"]

TODAY = "today"
"""The track of the policy that is asked whether it decides the same."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What all calls of one replay share."""

    stage: Stage
    recorded: Recorded
    policy: Policy
    batch: Batch
    built: Built
    today: Policy | None


def prepare(
    recorded: Recorded,
    stage: Stage,
    prompts: Sequence[Given],
    *,
    as_recorded: bool,
    alone: bool,
    accept: bool,
    home: str | Path,
    today: Policy | str | Path | None,
) -> tuple[Scene, tuple[str, ...]]:
    """Return the scene, all of it checked, and the mismatches that were accepted."""
    policy = _policy(recorded, home)
    built, wrong = _build(recorded, stage, policy, as_recorded=as_recorded)
    if wrong and not accept:
        told = _refusal(recorded, wrong)
        raise ReplayError(f"{told}\nto replay it all the same, accept these differences", wrong)
    found = _prompts(recorded, stage, prompts)
    other = None if today is None else built.builder.policy(today)
    if other is not None:
        built = beside(built, TODAY, other)
    keys = {*REQUEST_KEYS, *dict(policy.context), *(dict(other.context) if other is not None else ())}
    pad = recorded.started.settings.get("pad_token_id")
    batch = lay_out(
        recorded.call,
        recorded.row.key.request,
        found,
        keys=keys,
        pad=pad if isinstance(pad, int) else 0,
        device=stage.model.device,
        alone=alone,
    )
    return Scene(stage, recorded, policy, batch, built, other), tuple(wrong)


def _build(recorded: Recorded, stage: Stage, policy: Policy, *, as_recorded: bool) -> tuple[Built, list[str]]:
    """Return the recorded policy on the model that there is, and what of all this is not as recorded."""
    identity = stage.identity()
    parts = {**identity.parts(), "digest": identity.digest}
    try:
        built = build(stage, identity, unconditional(policy) if as_recorded else policy)
    except AssetError as error:
        wrong = [*model_mismatches(recorded.attached, parts), str(error)]
        hint = "\nas recorded, it can be replayed without classifiers" if "classifier" in str(error) else ""
        raise ReplayError(_refusal(recorded, wrong) + hint, wrong) from error
    slots = {slot.name: slot.digest for slot in built.kit.composer.slots}
    readers = None if as_recorded else built.kit.classifier_digests
    return built, list(mismatches(recorded, parts, slots, readers))


def _refusal(recorded: Recorded, wrong: Sequence[str]) -> str:
    listed = "\n".join(f"- {each}" for each in wrong)
    return f"request {recorded.row.key.request!r}: what would generate it is not what was recorded:\n{listed}"


def _prompts(recorded: Recorded, stage: Stage, given: Sequence[Given]) -> Mapping[str, Prompt]:
    request = recorded.row.key.request
    have = key_name(stage.key)
    if recorded.key_name and have != recorded.key_name:
        raise ReplayError(
            f"the log's digests were made with the key {recorded.key_name}, got the key {have}: give the key "
            "that the log was written with, or no prompt can be told from another"
        )
    found = find_prompts(recorded.call, given, stage.tokenizer, stage.digest)
    if request not in found:
        started = recorded.started
        wanted = f"{started.prompt_tokens} tokens and digest {short(started.prompt_digest)}"
        got = f"none of the {len(given)} prompts given is the recorded one" if given else "no prompt is given"
        raise ReplayError(
            f"request {request!r}: {got}, of {wanted}; give the text, the chat or the token ids that the "
            "request had, to the letter"
        )
    return found


def _policy(recorded: Recorded, home: str | Path) -> Policy:
    """Return the policy as it was adopted, with the binding that it had; deadlines are always met."""
    adopted = recorded.adopted
    policy = parse_policy(adopted.text, str(home))
    if policy.digest != adopted.policy_digest:
        raise ReplayError(
            f"the log's text of the policy {adopted.policy} has the digest {policy.digest}, not the recorded "
            f"{adopted.policy_digest}: the log was altered, see guardsteer audit verify"
        )
    return replace(
        policy,
        classifiers=tuple(map(_unhurried, policy.classifiers)),
        binding=binding_of(adopted.binding),
    )


def _unhurried(spec: ClassifierSpec) -> ClassifierSpec:
    # Whether a score comes in time is nothing that a record can make happen again.
    return replace(spec, deadline_ms=None, breaker=None)
