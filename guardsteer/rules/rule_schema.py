"""The shape of rules and profiles: what a rule does, and how its steering goes on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from guardsteer.core.policy import OnError
from guardsteer.rules.fields import MAX_STEPS, MAX_WINDOW, Amount, Closed, OneOrMany, Part, exactly_one

__all__ = [
    "AblateModel",
    "ClampModel",
    "ProfileModel",
    "PushModel",
    "ReviseModel",
    "RuleModel",
    "StrongerModel",
]

VectorName = Annotated[str, Field(description="A vector declared under 'vectors'.", examples=["empathy"])]
KeepNorm = Annotated[
    bool, Field(description="Scale the hidden state back to the length that it had before.", examples=[True])
]
Ramp = Annotated[
    int | None,
    Field(
        ge=1, le=MAX_STEPS, description="The strength grows evenly, whole after so many steps.", examples=[8]
    ),
]
HalfLife = Annotated[
    float | None,
    Field(
        gt=0,
        le=MAX_STEPS,
        description="The strength halves in so many steps, 0 from a hundredth on.",
        examples=[16],
    ),
]
Until = Annotated[
    Literal["sentence_end"] | None,
    Field(description="It ends with the sentence in which the rule fired.", examples=["sentence_end"]),
]


class StrongerModel(Closed):
    """What makes a strength grow while its rule goes on firing."""

    model_config = ConfigDict(title="stronger")

    every: Annotated[
        int, Field(ge=1, le=MAX_STEPS, description="After so many steps each time …", examples=[8])
    ]
    by: Annotated[Amount, Field(description="… it is so much stronger.", examples=[0.1])]


Stronger = Annotated[
    StrongerModel | None,
    Field(
        description="It grows step by step while the rule goes on firing, up to the vector's 'max_strength'."
    ),
]


class PushModel(Closed):
    """One ``add`` or ``subtract``."""

    model_config = ConfigDict(title="push", json_schema_extra=exactly_one("strength", "alpha"))

    vector: VectorName
    strength: Annotated[
        Amount | None,
        Field(description="How far, in units of the typical length of the block's output.", examples=[0.3]),
    ] = None
    alpha: Annotated[
        Amount | None,
        Field(description="How far, as the raw coefficient on the unit vector.", examples=[4.0]),
    ] = None
    keep_norm: KeepNorm = False
    ramp: Ramp = None
    half_life: HalfLife = None
    stronger: Stronger = None
    until: Until = None


class AblateModel(Closed):
    """One ``ablate``."""

    model_config = ConfigDict(title="ablate")

    vector: VectorName
    strength: Annotated[
        Part,
        Field(description="The share of the component along the vector that is removed.", examples=[0.5]),
    ] = 1.0
    keep_norm: KeepNorm = False
    ramp: Ramp = None
    half_life: HalfLife = None
    stronger: Stronger = None
    until: Until = None


class ClampModel(Closed):
    """One ``clamp``."""

    model_config = ConfigDict(
        title="clamp", json_schema_extra={"anyOf": [{"required": ["low"]}, {"required": ["high"]}]}
    )

    vector: VectorName
    low: Annotated[
        float | None,
        Field(
            description="The component along the vector is at least this, in units of strength.",
            examples=[-0.1],
        ),
    ] = None
    high: Annotated[
        float | None,
        Field(
            description="The component along the vector is at most this, in units of strength.",
            examples=[0.2],
        ),
    ] = None
    keep_norm: KeepNorm = False
    until: Until = None


Adds = Annotated[list[PushModel], *OneOrMany, Field(description="Push along a vector while the rule fires.")]
Subtracts = Annotated[
    list[PushModel], *OneOrMany, Field(description="Push against a vector while the rule fires.")
]
Ablates = Annotated[
    list[AblateModel],
    *OneOrMany,
    Field(description="Remove the component along a vector while the rule fires."),
]
Clamps = Annotated[
    list[ClampModel], *OneOrMany, Field(description="Keep the component along a vector between two bounds.")
]


class ReviseModel(Closed):
    """The entry ``revise`` of a rule."""

    model_config = ConfigDict(title="revise", json_schema_extra=exactly_one("tokens", "back_to"))

    tokens: Annotated[
        int | None, Field(ge=1, le=MAX_WINDOW, description="How many tokens to take back.", examples=[12])
    ] = None
    back_to: Annotated[
        Literal["sentence"] | None,
        Field(description="Take back all since the last sentence ended.", examples=["sentence"]),
    ] = None
    most: Annotated[
        int, Field(ge=1, le=1000, description="How often this rule may revise one row.", examples=[2])
    ] = 1
    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_STEPS,
            description="How long the rule's steering then acts; for the rest of the row by default.",
            examples=[32],
        ),
    ] = None
    then: Annotated[
        Literal["halt", "continue"],
        Field(description="What the rule does once it may revise no more.", examples=["halt"]),
    ] = "halt"


class ProfileModel(Closed):
    """One entry of ``profiles``."""

    model_config = ConfigDict(title="profile")

    add: Adds = Field(default=[])
    subtract: Subtracts = Field(default=[])
    ablate: Ablates = Field(default=[])
    clamp: Clamps = Field(default=[])


class RuleModel(Closed):
    """One entry of ``rules``."""

    model_config = ConfigDict(title="rule")

    id: Annotated[str, Field(description="The rule's name in the audit.", examples=["warm-billing"])]
    when: Annotated[str, Field(description="The condition.", examples=["billing && !refusing", "true"])]
    priority: Annotated[
        int,
        Field(
            ge=-1_000_000,
            le=1_000_000,
            description="Where rules name one vector, the highest priority decides.",
            examples=[10],
        ),
    ] = 0
    add: Adds = Field(default=[])
    subtract: Subtracts = Field(default=[])
    ablate: Ablates = Field(default=[])
    clamp: Clamps = Field(default=[])
    route: Annotated[
        dict[str, str] | None,
        Field(
            min_length=1,
            description="Flags, each with a profile: the first that is up chooses; 'otherwise' comes last.",
            examples=[{"billing": "warm", "otherwise": "plain"}],
        ),
    ] = None
    disable: Annotated[
        list[str],
        *OneOrMany,
        Field(description="Vectors that are left out while the rule fires; 'all' for all.", examples=["all"]),
    ] = Field(default=[])
    halt: Annotated[bool, Field(description="The row ends here, with the fallback.", examples=[True])] = False
    revise: Annotated[
        ReviseModel | None, Field(description="Text is taken back and written again, steered.")
    ] = None
    hold_back: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_WINDOW,
            description="A token is released once so many tokens behind it have been read too.",
            examples=[8],
        ),
    ] = None
    observe: Annotated[
        bool, Field(description="The rule is there for the audit, and may do nothing else.", examples=[True])
    ] = False
    on_error: Annotated[
        OnError,
        Field(
            description="What an undecided condition does: see 'What is missing' in the language's page.",
            examples=["open"],
        ),
    ] = "closed"
