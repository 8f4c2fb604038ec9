"""The shape of a binding and of overrides: how far a policy applies, and what a request may choose."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from guardsteer.core.policy import Mode
from guardsteer.rules.fields import Closed, Name

__all__ = ["BindingModel", "OverrideModel", "RolloutModel"]


class RolloutModel(Closed):
    """The entry ``rollout`` of a binding."""

    model_config = ConfigDict(title="rollout")

    percent: Annotated[
        float, Field(ge=0, le=100, description="The share of values of 'by' that is within.", examples=[10])
    ]
    by: Annotated[
        str,
        Field(
            description="The request's key whose value decides, by a hash; 'request.request' is its id.",
            examples=["request.tenant"],
        ),
    ] = "request.request"
    salt: Annotated[
        str, Field(max_length=1000, description="Another salt draws others.", examples=["2026-spring"])
    ] = ""
    otherwise: Annotated[Mode, Field(description="The mode of those not within.", examples=["shadow"])] = (
        "off"
    )


class BindingModel(Closed):
    """The entry ``binding``, or a binding file."""

    model_config = ConfigDict(title="binding", json_schema_extra={"dependentRequired": {"arms": ["rollout"]}})

    mode: Annotated[
        Mode,
        Field(
            description="Whether the policy acts, is only evaluated and audited, or is off.",
            examples=["shadow"],
        ),
    ] = "enforce"
    rules: Annotated[
        dict[str, Mode],
        Field(description="Rules that are held to less.", examples=[{"warm-billing": "shadow"}]),
    ] = Field(default={})
    rollout: Annotated[
        RolloutModel | None, Field(description="Which requests get this mode; all by default.")
    ] = None
    arms: Annotated[
        list[Name] | None,
        Field(
            min_length=2,
            max_length=2,
            description="What the audit calls those within the rollout, and the others.",
            examples=[["candidate", "control"]],
        ),
    ] = None


class OverrideModel(Closed):
    """One entry of ``overrides``."""

    model_config = ConfigDict(title="override")

    vector: Annotated[
        str, Field(description="The vector whose strength may be chosen.", examples=["empathy"])
    ]
    low: Annotated[float, Field(alias="from", ge=0, description="The least strength.", examples=[0])]
    high: Annotated[float, Field(alias="to", gt=0, description="The greatest strength.", examples=[0.4])]
    tenants: Annotated[
        list[Name] | None,
        Field(min_length=1, description="Whose requests may choose; all by default.", examples=[["acme"]]),
    ] = None
    outside: Annotated[
        Literal["refuse", "clamp"],
        Field(description="Whether a wish beyond the bounds is refused or cut to them.", examples=["clamp"]),
    ] = "refuse"
