"""``measure`` in a recipe: by which metric of replies its vector is judged, which way and on what.

So ``prepare`` calibrates without being told. A recipe is data, so it may not name code to run.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from guardsteer.errors import AssetError
from guardsteer.lab.metrics.register import OWN_KINDS, named
from guardsteer.lab.pairs.contrast import Measure
from guardsteer.steer.strict_json import NOT_BLANK

__all__ = ["MeasureRow"]


_LOOKED_UP = {"classifier": "classifier:NAME[.OUTPUT]", "trait": "trait:RECIPE"}


def _known(metric: str) -> str:
    kind, _, rest = metric.partition(":")
    if kind in _LOOKED_UP:
        # Looked up where it is used, since a recipe is also read where the classifier is not installed.
        if not rest or rest.startswith((".", "/")):
            raise ValueError(f"got {metric!r}, expected {kind}:NAME, a name of the catalogue")
        return metric
    own = OWN_KINDS.get(kind)
    if own is not None and own.runs_code:
        raise ValueError(f"a recipe may not name code to run; name a {kind}: metric where you prepare")
    try:
        named(metric, OWN_KINDS)
    except AssetError as error:
        also = "" if own is not None else f", {', '.join(_LOOKED_UP.values())}"
        raise ValueError(str(error).removeprefix("metric ") + also) from error
    return metric


def _beside(path: str) -> str:
    given = PurePosixPath(path)
    if given.is_absolute() or "\\" in path or given.suffix not in (".txt", ".jsonl"):
        raise ValueError(f"got {path!r}, expected a .txt or .jsonl file, named from the recipe's folder")
    return path


class MeasureRow(BaseModel):
    """``measure`` as ``recipe.yaml`` holds it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    metric: Annotated[str, Field(max_length=4000, pattern=NOT_BLANK), AfterValidator(_known)]
    direction: Literal["up", "down"] = "up"
    gain: Annotated[FiniteFloat, Field(gt=0)] | None = None
    perplexity_ratio: Annotated[FiniteFloat, Field(ge=1)] | None = None
    prompts: Annotated[str, Field(max_length=400, pattern=NOT_BLANK), AfterValidator(_beside)] | None = None

    def measure(self) -> Measure:
        """Return it as a recipe holds it."""
        return Measure(
            metric=self.metric,
            up=self.direction == "up",
            gain=self.gain,
            perplexity_ratio=self.perplexity_ratio,
            prompts=self.prompts,
        )
