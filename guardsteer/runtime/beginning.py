"""How a row's classifiers begin: each reads of the prompt what is its to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from guardsteer.classify.pace.guarded import GuardedState, Incident
from guardsteer.core.failures import failure_of
from guardsteer.core.policy import Scope
from guardsteer.runtime.feeding import FedState, fed
from guardsteer.runtime.fragile import Befallen, Fragile
from guardsteer.runtime.joining import Joint
from guardsteer.runtime.rowkit import Reading, RowKit
from guardsteer.runtime.text import TextReader

__all__ = ["MISSING", "Begun", "befall", "begin_reading"]

MISSING = float("nan")
CONTINUED: frozenset[Scope] = frozenset({"generation", "all"})


@dataclass(slots=True)
class Begun:
    """Who goes on reading: plain classifiers in ``active``, guarded ones in ``fragile``; what befell them."""

    active: list[tuple[Reading, FedState]] = field(default_factory=list)
    fragile: Fragile | None = None
    incidents: list[Befallen] = field(default_factory=list)


def begin_reading(
    kit: RowKit,
    reader: TextReader,
    prompt: Sequence[int],
    user: tuple[int, int] | None,
    signals: list[float],
) -> Begun:
    """Let every classifier of ``kit`` read the prompt and fill in its ``signals``."""
    text = reader.read(prompt)
    begun = Begun()

    def said_to(scope: Scope) -> str:
        if scope == "user":
            asked = prompt[user[0] : user[1]] if user else ()
            return TextReader(kit.vocabulary).read(asked)
        return "" if scope == "generation" else text

    for reading in kit.readings:
        try:
            state = reading.classifier.start()
            said = said_to(reading.scope)
            if isinstance(state, GuardedState):
                continued = reading.scope in CONTINUED
                begun.fragile = begun.fragile or Fragile()
                begun.incidents += begun.fragile.begin(reading, state, said, continued, signals)
                continue
            if said:
                state.push(said)
            signals[reading.first : reading.end] = reading.checked(state.scores())
        except Exception as error:
            begun.incidents.append(befall(reading, error, signals))
            continue
        if reading.scope in CONTINUED:
            begun.active.append((reading, fed(state, reading.checked)))
    if kit.joining.before:
        begun.fragile = begun.fragile or Fragile()
        begun.fragile.joint, told = Joint.begin(kit.joining, said_to, signals)
        begun.incidents += told
    return begun


def befall(reading: Reading, error: Exception, signals: list[float]) -> Befallen:
    """Count the signals of a classifier that raised as missing; return what to tell of it."""
    signals[reading.first : reading.end] = [MISSING] * (reading.end - reading.first)
    return reading.name, Incident("failed", failure_of(error))
