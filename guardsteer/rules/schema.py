"""The shape of a policy file, as closed and strict models; what the parts mean is checked elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from guardsteer.core.policy import OnAuditError, Position, Scope

__all__ = [
    "VERSION",
    "AuditModel",
    "ClassifierModel",
    "FlagModel",
    "PolicyModel",
    "RuleModel",
    "SteerModel",
    "VectorModel",
]

MAX_STEPS = 1_000_000
VERSION = 1


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, dict | str) else value


Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Name = Annotated[str, Field(min_length=1)]
Steps = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(gt=0)]


class ClassifierModel(_Closed):
    """One entry of ``classifiers``."""

    on: Scope
    use: Name | None = None
    literals: Annotated[list[Text], Field(min_length=1, max_length=10_000)] | None = None
    patterns: Annotated[list[Text], Field(min_length=1, max_length=1_000)] | None = None
    ignore_case: bool | None = None
    tail_characters: Annotated[int, Field(ge=1, le=65_536)] | None = None


class FlagModel(_Closed):
    """One entry of ``flags``."""

    signal: str
    enter: Share
    exit: Share | None = None
    after: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 1
    hold: Steps = 0
    latch: bool = False


class VectorModel(_Closed):
    """One entry of ``vectors``."""

    use: Name
    blocks: Annotated[list[Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1)] | None = None
    positions: Annotated[list[Position], Field(min_length=1)] = ["generated"]
    max_strength: Amount | None = None


class SteerModel(_Closed):
    """One ``add`` or ``subtract`` of a rule."""

    vector: str
    strength: Amount | None = None
    alpha: Amount | None = None


Steers = Annotated[list[SteerModel], Field(min_length=1), BeforeValidator(_one_or_many)]


class RuleModel(_Closed):
    """One entry of ``rules``."""

    id: str
    when: str
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    add: Steers = Field(default=[])
    subtract: Steers = Field(default=[])
    disable: Annotated[list[str], Field(min_length=1), BeforeValidator(_one_or_many)] = Field(default=[])
    halt: bool = False


class AuditModel(_Closed):
    """The entry ``audit``."""

    on_error: OnAuditError = "closed"


class PolicyModel(_Closed):
    """A whole policy file."""

    guardsteer: Annotated[int, Field(ge=VERSION, le=VERSION)]
    name: str
    context: dict[str, Literal["string", "int", "float", "bool"]] = {}
    classifiers: dict[str, ClassifierModel] = {}
    flags: dict[str, FlagModel] = {}
    vectors: dict[str, VectorModel] = {}
    rules: list[RuleModel] = []
    fallback: Text | None = None
    audit: AuditModel = AuditModel()
