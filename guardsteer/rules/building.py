"""From a file's checked shape to the values that every room reads, defaults filled in."""

from __future__ import annotations

from collections.abc import Sequence

from guardsteer.core.policy import (
    ENFORCED,
    AuditSpec,
    Binding,
    BreakerSpec,
    ClassifierSpec,
    CombineSpec,
    FlagSpec,
    Mode,
    Operator,
    OverrideSpec,
    Policy,
    ReviseSpec,
    RuleSpec,
    ScheduleSpec,
    Smoothing,
    SteerSpec,
    VectorSpec,
)
from guardsteer.rules.binding_schema import BindingModel, OverrideModel
from guardsteer.rules.routing import base_of, routed_condition, routed_id
from guardsteer.rules.rule_schema import (
    AblateModel,
    ClampModel,
    ProfileModel,
    PushModel,
    ReviseModel,
    RuleModel,
)
from guardsteer.rules.schema import (
    ClassifierModel,
    CombineModel,
    FlagModel,
    PolicyModel,
    SmoothModel,
    VectorModel,
)

__all__ = ["DEFAULT_TAIL_CHARACTERS", "build_binding", "build_policy"]

DEFAULT_TAIL_CHARACTERS = 256


def build_policy(model: PolicyModel, lines: Sequence[int], *, digest: str, source: str, text: str) -> Policy:
    """Return the policy; ``lines`` holds the line of each rule in the file."""
    vectors = tuple(model.vectors)
    rules = tuple(
        rule
        for item, line in zip(model.rules, lines, strict=True)
        for rule in _rules(item, model.profiles, vectors, line)
    )
    return Policy(
        name=model.name,
        digest=digest,
        source=source,
        classifiers=tuple(_classifier(name, item) for name, item in model.classifiers.items()),
        vectors=tuple(_vector(name, item) for name, item in model.vectors.items()),
        flags=tuple(_flag(name, item) for name, item in model.flags.items()),
        rules=rules,
        context=tuple(model.context.items()),
        fallback=model.fallback or "",
        audit=AuditSpec(model.audit.on_error),
        budget=model.budget,
        binding=build_binding(model.binding, [rule.id for rule in rules]),
        overrides=tuple(map(_override, model.overrides)),
        text=text,
    )


def build_binding(model: BindingModel | None, rule_ids: Sequence[str]) -> Binding:
    """Return the binding of a policy with these rules; a rule that routes stands for all its routes."""
    if model is None:
        return ENFORCED
    rules: tuple[tuple[str, Mode], ...] = tuple(
        (rule, model.rules[base_of(rule)]) for rule in rule_ids if base_of(rule) in model.rules
    )
    arm, other_arm = model.arms or ("", "")
    if model.rollout is None:
        return Binding(mode=model.mode, rules=rules, arm=arm, other_arm=other_arm)
    rollout = model.rollout
    return Binding(
        mode=model.mode,
        rules=rules,
        percent=rollout.percent,
        by=rollout.by,
        salt=rollout.salt,
        arm=arm,
        otherwise=rollout.otherwise,
        other_arm=other_arm,
    )


def _override(model: OverrideModel) -> OverrideSpec:
    tenants = tuple(model.tenants) if model.tenants is not None else None
    return OverrideSpec(model.vector, model.low, model.high, tenants, model.outside)


def _classifier(name: str, model: ClassifierModel) -> ClassifierSpec:
    breaker = model.breaker
    return ClassifierSpec(
        name=name,
        on=model.on or "all",
        use=model.use,
        literals=tuple(model.literals or ()),
        patterns=tuple(model.patterns or ()),
        ignore_case=True if model.ignore_case is None else model.ignore_case,
        tail_characters=model.tail_characters or DEFAULT_TAIL_CHARACTERS,
        on_error=model.on_error,
        deadline_ms=model.deadline_ms,
        breaker=BreakerSpec(breaker.failures, breaker.rest_s) if breaker is not None else None,
        combine=None if model.combine is None else _combine(model.combine),
        read=model.read,
        encoder=model.encoder,
    )


def _combine(model: CombineModel) -> CombineSpec:
    return CombineSpec(tuple(model.of), model.by, model.missing)


def _vector(name: str, model: VectorModel) -> VectorSpec:
    return VectorSpec(
        name=name,
        use=model.use,
        blocks=tuple(model.blocks) if model.blocks is not None else None,
        positions=tuple(model.positions),
        max_strength=model.max_strength,
        site=model.site,
        heads=tuple(model.heads) if model.heads is not None else None,
    )


def _flag(name: str, model: FlagModel) -> FlagSpec:
    return FlagSpec(
        name=name,
        signal=model.signal,
        enter=model.enter,
        exit=model.enter if model.exit is None else model.exit,
        after=model.after,
        hold=model.hold,
        latch=model.latch,
        of_last=model.of_last,
        cooldown=model.cooldown,
        smooth=_smoothing(model.smooth),
        per=model.per,
    )


def _smoothing(model: SmoothModel | None) -> Smoothing | None:
    if model is None:
        return None
    return Smoothing("ema", model.ema) if model.ema is not None else Smoothing("max", float(model.max or 1))


def _rules(
    model: RuleModel, profiles: dict[str, ProfileModel], vectors: tuple[str, ...], line: int
) -> list[RuleSpec]:
    if model.route is None:
        disable = vectors if "all" in model.disable else tuple(dict.fromkeys(model.disable))
        return [
            RuleSpec(
                id=model.id,
                when=model.when,
                priority=model.priority,
                steer=_steers(model),
                disable=disable,
                halt=model.halt,
                line=line,
                observe=model.observe,
                hold_back=model.hold_back,
                revise=_revise(model.revise),
                on_error=model.on_error,
            )
        ]
    return [_routed(model, key, profiles[profile], line) for key, profile in model.route.items()]


def _routed(model: RuleModel, key: str, profile: ProfileModel, line: int) -> RuleSpec:
    steer = _steers(profile)
    return RuleSpec(
        id=routed_id(model.id, key),
        when=routed_condition(model.when, list(model.route or ()), key),
        priority=model.priority,
        steer=steer,
        line=line,
        observe=model.observe or not steer,
        on_error=model.on_error,
    )


def _revise(model: ReviseModel | None) -> ReviseSpec | None:
    return None if model is None else ReviseSpec(model.tokens, model.most, model.steps, model.then)


def _steers(model: RuleModel | ProfileModel) -> tuple[SteerSpec, ...]:
    return (
        *(_push(item, "add") for item in model.add),
        *(_push(item, "subtract") for item in model.subtract),
        *(_ablate(item) for item in model.ablate),
        *(_clamp(item) for item in model.clamp),
    )


def _push(model: PushModel, operator: Operator) -> SteerSpec:
    return SteerSpec(
        vector=model.vector,
        operator=operator,
        strength=model.strength,
        alpha=model.alpha,
        keep_norm=model.keep_norm,
        schedule=_schedule(model),
    )


def _ablate(model: AblateModel) -> SteerSpec:
    return SteerSpec(
        vector=model.vector,
        operator="ablate",
        strength=model.strength,
        keep_norm=model.keep_norm,
        schedule=_schedule(model),
    )


def _clamp(model: ClampModel) -> SteerSpec:
    schedule = ScheduleSpec(until_sentence_end=True) if model.until is not None else None
    return SteerSpec(
        vector=model.vector,
        operator="clamp",
        low=model.low,
        high=model.high,
        keep_norm=model.keep_norm,
        schedule=schedule,
    )


def _schedule(model: PushModel | AblateModel) -> ScheduleSpec | None:
    stronger = model.stronger
    schedule = ScheduleSpec(
        ramp=model.ramp,
        half_life=model.half_life,
        every=stronger.every if stronger is not None else None,
        by=stronger.by if stronger is not None else 0.0,
        until_sentence_end=model.until is not None,
    )
    return None if schedule == ScheduleSpec() else schedule
