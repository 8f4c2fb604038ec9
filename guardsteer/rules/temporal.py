"""What a flag does at a step, as templates of code that is compiled once for a policy.

Names in a template: ``s`` is the signal, ``N`` how many sentences have ended, ``m`` and ``y`` the flag's
must and may. What a flag keeps from step to step: ``u`` whether it is up, ``k`` the updates for which it
stays as it is (``c`` in the short forms), ``c`` how many of the newest updates held, ``w`` which of them as
bits, ``e`` the running average, ``n`` the sentences at the last update. For the highest of a window: ``q``
the scores that came since ``f`` was made, newest first, as linked pairs, ``p`` the highest of them, ``f``
for each older score, oldest first, the highest of it and those after it when ``f`` was made, ``i`` how many
there are. A missing signal (``s != s``) leaves all of it alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from guardsteer.core.policy import FlagSpec

__all__ = ["constants_of", "decisive", "initial_values", "template_of"]

# The short forms are what nearly all flags are; the tests hold them to the same reference as the rest.
_PLAIN = """
m = s >= ENTER
y = not (s < ENTER)
"""
_LATCHED = """
if not u:
    u = s >= ENTER
m = u
y = u or s != s
"""
_HYSTERESIS = """
if s == s:
    m = y = u = s >= (EXIT if u else ENTER)
else:
    m = False
    y = True
"""
_COUNTED = """
if s == s:
    if u:
        if c > 0:
            c -= 1
        elif s < EXIT:
            u = False
    elif s >= ENTER:
        c += 1
        if c >= AFTER:
            u = True
            c = HOLD
    else:
        c = 0
    m = y = u
else:
    m = False
    y = True
"""
_COUNTED_LATCHED = """
if s == s and not u:
    if s >= ENTER:
        c += 1
        u = c >= AFTER
    else:
        c = 0
m = u
y = u or s != s
"""

# Rounding may neither push an average past its parts, so that a constant score is its own average, nor
# turn round which of two histories is the higher.
_AVERAGE = """
if e != e:
    e = s
else:
    x = WEIGHT * s + REST * e
    if s < e:
        e = s if x < s else x if x < e else e
    else:
        e = e if x < e else x if x < s else s
x = e
"""
# A queue as two stacks: when the older one is used up, the newer one is turned over, once for each score.
_HIGHEST = """
if i == WINDOW:
    if not f:
        p = LEAST
        while q:
            x, q = q
            if x > p:
                p = x
            f = p, f
        p = LEAST
    x, f = f
else:
    i += 1
q = s, q
if s > p:
    p = s
x = f[0] if f and f[0] > p else p
"""
_RUN = """
h = x >= ENTER
c = c + (c < AFTER) if h else 0
"""
_WINDOW = """
h = x >= ENTER
c += h - (w >> OLDEST & 1)
w = (w << 1 | h) & NEWEST
"""
_ONE = """
h = x >= ENTER
"""
_TURN = """
if u:
    if k > 0:
        k -= 1
    elif x < EXIT:
        u = False
        k = COOLDOWN
elif k > 0:
    k -= 1
elif h and c >= AFTER:
    u = True
    k = HOLD
"""
_TURN_UP = """
u = h and c >= AFTER
"""

_INITIAL: Mapping[str, Any] = {
    **{"u": False, "k": 0, "c": 0, "w": 0, "e": math.nan, "n": -1},
    **{"q": (), "p": -math.inf, "f": (), "i": 0},
}


def _windowed(flag: FlagSpec) -> bool:
    return flag.of_last is not None and flag.of_last > flag.after > 1


def template_of(flag: FlagSpec) -> tuple[str, str]:
    """Return a flag's template and the letters of what it keeps."""
    return _short(flag) if _is_short(flag) else _general(flag)


def decisive(flag: FlagSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the scores with which a flag compares while it is down, and while it is up.

    For flags without smoothing. While a score stays on the same side of these, the flag does the same.
    """
    if not _is_short(flag):
        return (flag.enter, flag.exit), (flag.enter, flag.exit)
    return (flag.enter,), () if flag.latch else (flag.exit,)


def _is_short(flag: FlagSpec) -> bool:
    return flag.smooth is None and not _windowed(flag) and flag.cooldown <= 1 and flag.per == "token"


def _short(flag: FlagSpec) -> tuple[str, str]:
    if flag.latch:
        return (_LATCHED, "u") if flag.after == 1 else (_COUNTED_LATCHED, "uc")
    if flag.after == 1 and flag.hold <= 1:
        return (_PLAIN, "") if flag.exit == flag.enter else (_HYSTERESIS, "u")
    return _COUNTED, "uc"


def _general(flag: FlagSpec) -> tuple[str, str]:
    smooth = "" if flag.smooth is None else flag.smooth.kind
    score, kept = {"": ("x = s\n", ""), "ema": (_AVERAGE, "e"), "max": (_HIGHEST, "qpfi")}[smooth]
    count, counted = (_WINDOW, "cw") if _windowed(flag) else (_RUN, "c") if flag.after > 1 else (_ONE, "")
    kept += "u" + counted
    turn = _TURN_UP if flag.latch else _TURN
    if not flag.latch:
        kept += "k"
    if flag.after == 1:
        turn = turn.replace(" and c >= AFTER", "")
    due = "s == s"
    if flag.per == "sentence":
        score, kept, due = "n = N\n" + score, kept + "n", "N > n and s == s"
    if flag.latch:
        due += " and not u"
    update = "".join(f"    {line}\n" for line in (score + count + turn).splitlines() if line)
    outcome = "m = u\ny = u or s != s\n" if flag.latch else "m = u and s == s\ny = u or s != s\n"
    return f"if {due}:\n{update}{outcome}", kept


def constants_of(flag: FlagSpec) -> dict[str, float]:
    """Return what a flag puts into its template."""
    constants: dict[str, float] = {
        "ENTER": flag.enter,
        "EXIT": flag.exit,
        "AFTER": flag.after,
        "HOLD": max(flag.hold - 1, 0),
        "COOLDOWN": max(flag.cooldown - 1, 0),
    }
    if flag.of_last is not None:
        constants |= {"OLDEST": flag.of_last - 1, "NEWEST": (1 << flag.of_last) - 1}
    if flag.smooth is not None and flag.smooth.kind == "ema":
        constants |= {"WEIGHT": flag.smooth.value, "REST": 1.0 - flag.smooth.value}
    if flag.smooth is not None and flag.smooth.kind == "max":
        constants |= {"WINDOW": int(flag.smooth.value), "LEAST": -math.inf}
    return constants


def initial_values(kept: str) -> tuple[Any, ...]:
    """Return what a flag that is down and has seen nothing keeps."""
    return tuple(_INITIAL[letter] for letter in kept)
