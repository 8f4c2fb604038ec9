"""What a policy's test file says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from guardsteer.core.policy import Operator

__all__ = ["TOLERANCE", "Case", "CaseFile", "Context", "Expectation", "Script", "Span"]

TOLERANCE: Final = 1e-6

Context: TypeAlias = Mapping[str, "str | int | float | bool | list[str]"]


@dataclass(frozen=True, slots=True)
class Script:
    """The signals of one step: what changes from the step before; NaN where a classifier failed.

    ``sentences``: how many have ended by then, None where the text tells.
    """

    signals: Mapping[str, float] = field(default_factory=dict)
    sentences: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Steps ``first`` to ``last``; ``last`` None: to the end; ``first`` None: the last step alone."""

    first: int | None
    last: int | None

    def __str__(self) -> str:
        if self.first is None:
            return "the end"
        if self.last is None:
            return f"step {self.first} to the end"
        return f"step {self.first}" if self.first == self.last else f"steps {self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must hold at each step of ``span``; what is not named is not looked at.

    ``strengths`` are signed, within ``tolerance``; ``operators`` "none" wants the vector left alone.
    ``halt`` and ``revise`` name the rule, or say whether any does. ``hold_back`` False: none.
    """

    span: Span
    line: int
    flags: Mapping[str, bool] = field(default_factory=dict)
    rules: Mapping[str, bool] = field(default_factory=dict)
    strengths: Mapping[str, float] = field(default_factory=dict)
    operators: Mapping[str, Operator | Literal["none"]] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    halt: str | bool | None = None
    revise: str | bool | None = None
    hold_back: int | bool | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One case: a request, what is read at each step, and what the policy must make of it.

    ``prompt``: the whole prompt; ``user``: its last user turn. Step 0 reads the prompt, step ``s`` the
    ``s``-th piece of ``generation``. ``scripts`` hold a step's signals from step 0 on; a classifier with a
    scripted signal reads no text. ``steps``: how many there are at least, step 0 included.
    """

    name: str
    line: int
    expect: tuple[Expectation, ...]
    context: Context = field(default_factory=dict)
    overrides: Mapping[str, float] = field(default_factory=dict)
    shadow: bool = False
    prompt: str = ""
    user: str = ""
    generation: tuple[str, ...] = ()
    scripts: tuple[Script, ...] = ()
    steps: int = 1


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of a policy; ``residual_norms`` of vectors that the policy uses by ``alpha``."""

    file: str
    cases: tuple[Case, ...]
    residual_norms: Mapping[str, float] = field(default_factory=dict)
