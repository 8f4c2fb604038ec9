"""``measure`` in a recipe: by which metric of replies its vector is judged, which way and on what.

So ``prepare`` calibrates without being told. A recipe is data, so it may not name code to run.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

from guardsteer.errors import AssetError
from guardsteer.lab.contrast import Measure
from guardsteer.lab.metrics import KINDS, metric_named
from guardsteer.steer.strict_json import NOT_BLANK

__all__ = ["MeasureRow"]


def _known(metric: str) -> str:
    kind, _, rest = metric.partition(":")
    known = KINDS.get(kind)
    if known is not None and known.runs_code:
        raise ValueError(f"a recipe may not name code to run; name a {kind}: metric where you prepare")
    if known is not None and known.needs:
        # Looked up where it is used, since a recipe is also read where the classifier is not installed.
        if not rest or rest.startswith((".", "/")):
            raise ValueError(f"got {metric!r}, expected {kind}:NAME, a name of the catalogue")
        return metric
    try:
        metric_named(metric)
    except AssetError as error:
        raise ValueError(str(error).removeprefix("metric ")) from error
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
