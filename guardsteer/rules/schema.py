"""The shape of a policy file, as closed and strict models; what the parts mean is checked elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from guardsteer.core.policy import OnAuditError, OnError, Position, Scope, Site, Unit
from guardsteer.rules.binding_schema import BindingModel, OverrideModel
from guardsteer.rules.fields import (
    MAX_STEPS,
    Amount,
    Closed,
    Name,
    Part,
    Share,
    Steps,
    Text,
    Window,
    exactly_one,
)
from guardsteer.rules.rule_schema import ProfileModel, RuleModel

__all__ = [
    "VERSION",
    "AuditModel",
    "BreakerModel",
    "ClassifierModel",
    "CombineModel",
    "FlagModel",
    "PolicyModel",
    "SmoothModel",
    "VectorModel",
]

VERSION = 1


class BreakerModel(Closed):
    """The entry ``breaker`` of a classifier."""

    model_config = ConfigDict(title="breaker")

    failures: Annotated[
        int, Field(ge=1, le=MAX_STEPS, description="After so many failures in a row …", examples=[3])
    ] = 3
    rest_s: Annotated[
        float, Field(gt=0, le=86_400, description="… it is left alone for so many seconds.", examples=[30])
    ] = 30.0


class CombineModel(Closed):
    """The entry ``combine`` of a classifier."""

    model_config = ConfigDict(title="combine")

    of: Annotated[
        list[Name],
        Field(
            min_length=2,
            max_length=64,
            description="Scores of other classifiers in this policy.",
            examples=[["words.score", "meaning.score"]],
        ),
    ]
    by: Annotated[
        Literal["max", "mean"], Field(description="Their highest or their mean.", examples=["mean"])
    ] = "max"
    missing: Annotated[
        Literal["closed", "without"],
        Field(
            description="Whether it is missing while one of them is, or goes by the others.",
            examples=["without"],
        ),
    ] = "closed"


class ClassifierModel(Closed):
    """One entry of ``classifiers``."""

    model_config = ConfigDict(
        title="classifier",
        json_schema_extra={
            "anyOf": [
                {"required": ["on", "use"]},
                {"required": ["on", "literals"]},
                {"required": ["on", "patterns"]},
                {"required": ["combine"]},
            ]
        },
    )

    on: Annotated[
        Scope | None, Field(description="Which text it reads; not for 'combine'.", examples=["user"])
    ] = None
    use: Annotated[
        Name | None, Field(description="A name in the catalogue, or a path.", examples=["support-intent"])
    ] = None
    literals: Annotated[
        list[Text] | None,
        Field(
            min_length=1,
            max_length=10_000,
            description="Words to look for, as they are.",
            examples=[["damn"]],
        ),
    ] = None
    patterns: Annotated[
        list[Text] | None,
        Field(
            min_length=1,
            max_length=1_000,
            description="Patterns in the syntax of RE2.",
            examples=[["\\bugh+\\b"]],
        ),
    ] = None
    ignore_case: Annotated[
        bool | None, Field(description="For literals and patterns; true by default.", examples=[False])
    ] = None
    tail_characters: Annotated[
        int | None,
        Field(ge=1, le=65_536, description="How far back a match may begin; 256 by default.", examples=[64]),
    ] = None
    on_error: Annotated[
        OnError,
        Field(
            description="What its scores are when it fails: missing, 0, or what they were.", examples=["open"]
        ),
    ] = "closed"
    deadline_ms: Annotated[
        float | None,
        Field(
            gt=0,
            le=60_000,
            description="A score that is not there by then leaves the previous one standing.",
            examples=[5],
        ),
    ] = None
    breaker: Annotated[
        BreakerModel | None, Field(description="When it is left alone for a while after failures.")
    ] = None
    combine: Annotated[
        CombineModel | None, Field(description="One score made of others, in place of reading a text.")
    ] = None
    read: Annotated[
        str | None,
        Field(
            pattern="^(prompt|sentences|every [1-9][0-9]{0,4})$",
            description="Where a slow one reads a generation: at ends of sentences, or every so many words.",
            examples=["sentences", "every 16"],
        ),
    ] = None
    encoder: Annotated[
        Name | None,
        Field(description="A folder in which its encoder is looked for first.", examples=["./encoders"]),
    ] = None


class SmoothModel(Closed):
    """The entry ``smooth`` of a flag."""

    model_config = ConfigDict(title="smooth", json_schema_extra=exactly_one("ema", "max"))

    ema: Annotated[
        Part | None, Field(description="A moving average; the weight of the newest score.", examples=[0.3])
    ] = None
    max: Annotated[
        Window | None, Field(description="The highest of so many newest scores.", examples=[8])
    ] = None


class FlagModel(Closed):
    """One entry of ``flags``."""

    model_config = ConfigDict(title="flag")

    signal: Annotated[str, Field(description="The score that moves it.", examples=["intent.billing"])]
    enter: Annotated[Share, Field(description="It goes up when the score is at least this.", examples=[0.6])]
    exit: Annotated[
        Share | None,
        Field(description="It goes down when the score is below this; 'enter' by default.", examples=[0.5]),
    ] = None
    after: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_STEPS,
            description="It goes up once the score was at least 'enter' so often in a row, or of 'of_last'.",
            examples=[3],
        ),
    ] = 1
    of_last: Annotated[
        Window | None, Field(description="How many newest scores 'after' counts in.", examples=[5])
    ] = None
    hold: Annotated[
        Steps, Field(description="It stays up for so many steps at least, the first included.", examples=[8])
    ] = 0
    cooldown: Annotated[
        Steps, Field(description="Once down, it stays down for so many steps at least.", examples=[4])
    ] = 0
    latch: Annotated[
        bool, Field(description="Once up, it stays up for the rest of the row.", examples=[True])
    ] = False
    smooth: Annotated[SmoothModel | None, Field(description="How scores are smoothed before thresholds.")] = (
        None
    )
    per: Annotated[
        Unit,
        Field(description="Whether it moves with each token or with each sentence.", examples=["sentence"]),
    ] = "token"


class VectorModel(Closed):
    """One entry of ``vectors``."""

    model_config = ConfigDict(title="vector", json_schema_extra={"dependentRequired": {"heads": ["site"]}})

    use: Annotated[Name, Field(description="A name in the catalogue, or a path.", examples=["empathy"])]
    max_strength: Annotated[
        Amount | None, Field(description="No rule pushes further than this.", examples=[0.4])
    ] = None
    blocks: Annotated[
        list[Annotated[int, Field(ge=0, le=100_000)]] | None,
        Field(
            min_length=1,
            description="Where it acts; where its card recommends by default.",
            examples=[[4, 5]],
        ),
    ] = None
    positions: Annotated[
        list[Position], Field(min_length=1, description="Which tokens it acts on.", examples=[["generated"]])
    ] = Field(default=["generated"])
    site: Annotated[
        Site | None,
        Field(description="Where in a block it acts; where it was extracted by default.", examples=["mlp"]),
    ] = None
    heads: Annotated[
        list[Annotated[int, Field(ge=0, le=100_000)]] | None,
        Field(
            min_length=1, description="Which heads of the site 'heads'; all by default.", examples=[[0, 3]]
        ),
    ] = None


class AuditModel(Closed):
    """The entry ``audit``."""

    model_config = ConfigDict(title="audit")

    on_error: Annotated[
        OnAuditError,
        Field(description="What happens when the audit log cannot be written.", examples=["closed"]),
    ] = "closed"


class PolicyModel(Closed):
    """A whole policy file."""

    model_config = ConfigDict(title="A guardsteer policy")

    guardsteer: Annotated[
        int, Field(ge=VERSION, le=VERSION, description="The version of the policy language.", examples=[1])
    ]
    name: Annotated[str, Field(description="The policy's name.", examples=["support"])]
    context: Annotated[
        dict[str, Literal["string", "int", "float", "bool"]],
        Field(description="Keys that a request may bring, with their types.", examples=[{"tier": "int"}]),
    ] = Field(default={})
    classifiers: Annotated[
        dict[str, ClassifierModel], Field(description="What gives scores from text or hidden states.")
    ] = Field(default={})
    flags: Annotated[dict[str, FlagModel], Field(description="What turns scores into yes or no.")] = Field(
        default={}
    )
    vectors: Annotated[dict[str, VectorModel], Field(description="What steers.")] = Field(default={})
    profiles: Annotated[
        dict[str, ProfileModel], Field(description="Steering by name, for rules that route.")
    ] = Field(default={})
    rules: Annotated[list[RuleModel], Field(description="What to do, and when.")] = Field(default=[])
    budget: Annotated[
        Amount | None,
        Field(
            description="Bounds the length of all that is added to a hidden state at one place.",
            examples=[0.5],
        ),
    ] = None
    overrides: Annotated[
        list[OverrideModel], Field(description="Bounds within which a request may choose a strength itself.")
    ] = Field(default=[])
    binding: Annotated[BindingModel | None, Field(description="How far the policy applies.")] = None
    fallback: Annotated[
        Text | None,
        Field(description="The text that a halted row ends with.", examples=["I can't help with that."]),
    ] = None
    audit: Annotated[AuditModel, Field(description="What happens when the audit log fails.")] = AuditModel()
