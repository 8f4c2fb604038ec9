"""Literals and RE2 patterns, looked for in a stream in linear time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ahocorasick_rs
import re2

from guardsteer.classify.words.normalise import Normalise, Normaliser, Reading
from guardsteer.core.digests import digest_json
from guardsteer.errors import ClassifierError

__all__ = ["MAX_TAIL_CHARACTERS", "PatternClassifier", "PatternState"]

MAX_TAIL_CHARACTERS = 65_536

_OUTPUTS = ("match",)
_FOUND = (1.0,)
_NOT_FOUND = (0.0,)

# Whether a match that ends where the text ends still stands once the text goes on can depend on the
# next character only through these three kinds of it: \b and \B ask for a word character, (?m)$ for
# a newline, $ and \z for nothing at all.
_CONTINUATIONS = (b"a", b"\n", b" ")


class PatternClassifier:
    """Output ``match``: 1.0 when the text so far holds a literal or a match of a pattern, else 0.0.

    How the text is cut into pushes makes no difference: every literal is found, and every match that
    is at most ``tail_characters`` long. A match that leans on the end of the text (``\\bdamn\\b`` after
    "damn") counts while the text ends there and is taken back when the text goes on as "damnation";
    any other match stays for good.

    ``ignore_case`` compares literals by full case folding (STRASSE finds straße) and patterns by
    RE2's simple folding. RE2's syntax holds: no backreferences, no look-around, ``\\b`` and ``\\w``
    are ASCII. ``normalise`` undoes disguised writing in the text and in the literals first (see
    ``normalise``); patterns are then held against small letters and straight quotes.

    Raises ``ClassifierError`` that lists every literal and pattern that is no good.
    """

    __slots__ = ("_automaton", "_digest", "_fold", "_keep", "_normaliser", "_search", "_tail_characters")

    def __init__(
        self,
        *,
        literals: Sequence[str] = (),
        patterns: Sequence[str] = (),
        ignore_case: bool = True,
        tail_characters: int = 256,
        normalise: Normalise | None = None,
    ) -> None:
        self._normaliser = Normaliser(normalise) if normalise else None
        read = [self._normaliser(literal) for literal in literals] if self._normaliser else literals
        problems = _problems(literals, patterns, ignore_case, tail_characters)
        problems += [
            f"literal {literal!r} is empty once it is normalised, so it would be found in every text"
            for literal, left in zip(literals, read, strict=True)
            if literal and not left
        ]
        if problems:
            raise ClassifierError("; ".join(problems))
        folded = sorted({literal.casefold() if ignore_case else literal for literal in read})
        self._automaton = ahocorasick_rs.AhoCorasick(folded) if folded else None
        self._keep = max(map(len, folded), default=1) - 1
        self._search = _compile_all(patterns, ignore_case).search if patterns else None
        self._fold = ignore_case
        self._tail_characters = tail_characters
        self._digest = digest_json(
            {
                "kind": "patterns",
                "literals": list(literals),
                "patterns": list(patterns),
                "ignore_case": ignore_case,
                "tail_characters": tail_characters,
                **({"normalise": normalise} if normalise else {}),
            }
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Always ``("match",)``."""
        return _OUTPUTS

    @property
    def digest(self) -> str:
        """Digest of the literals, the patterns and how they are compared."""
        return self._digest

    def start(self) -> PatternState | NormalisedState:
        """Return the state of a row that has read nothing."""
        state = PatternState(self)
        return state if self._normaliser is None else NormalisedState(self._normaliser, state)


class PatternState:
    """What one row has read: a folded and a raw tail, and whether a match was found."""

    __slots__ = ("_classifier", "_folded", "_leaning", "_settled", "_tail")

    def __init__(self, classifier: PatternClassifier) -> None:
        self._classifier = classifier
        self._settled = False
        self._leaning = False
        self._folded = ""
        self._tail = ""

    def push(self, text: str) -> None:
        """Append ``text``; costs its length and the tail's."""
        if self._settled or not text:
            return
        if not text.isascii():
            # Half a surrogate pair cannot be encoded; it must not hide what stands around it.
            text = text.encode("utf-8", "replace").decode()
        classifier = self._classifier
        if classifier._automaton is not None:
            keep = classifier._keep
            folded = self._folded + (text.casefold() if classifier._fold else text)
            if classifier._automaton.find_matches_as_indexes(folded):
                self._settle()
                return
            self._folded = folded[-keep:] if keep else ""
        if classifier._search is not None:
            self._look(classifier._search, self._tail + text)

    def _look(self, search: Callable[..., object], window: str) -> None:
        # The window's first character, once the tail was cut, is context for \b and ^ alone: a match
        # may not begin there, or every cut would look like the beginning of the text.
        limit = self._classifier._tail_characters + 1
        first = len(window[0].encode()) if len(self._tail) == limit else 0
        self._tail = window[-limit:]
        data = window.encode()
        self._leaning = search(data, first) is not None
        if self._leaning and all(search(data + next_, first, len(data)) for next_ in _CONTINUATIONS):
            self._settle()

    def _settle(self) -> None:
        self._settled = True
        self._folded = self._tail = ""

    @property
    def settled(self) -> bool:
        """True when nothing that follows takes the match back."""
        return self._settled

    def scores(self) -> tuple[float]:
        """Return ``(1.0,)`` when the text so far holds a match, else ``(0.0,)``."""
        return _FOUND if self._settled or self._leaning else _NOT_FOUND

    def fork(self) -> PatternState:
        """Return an independent copy."""
        twin = PatternState(self._classifier)
        twin._settled, twin._leaning = self._settled, self._leaning
        twin._folded, twin._tail = self._folded, self._tail
        return twin


class NormalisedState:
    """A state behind a normaliser: what has read the settled text, and what reads on as if it ended there."""

    __slots__ = ("_ahead", "_normaliser", "_reading", "_state")

    def __init__(self, normaliser: Normaliser, state: PatternState) -> None:
        self._normaliser = normaliser
        self._reading: Reading = normaliser.start
        self._state = self._ahead = state

    def push(self, text: str) -> None:
        """Append ``text``; costs its length, the tail's and that of what is open."""
        self._reading, settled = self._normaliser.read(self._reading, text)
        self._state.push(settled)
        self._ahead = self._state
        rest = self._normaliser.rest(self._reading)
        if rest and not self._state.settled:
            self._ahead = self._state.fork()
            self._ahead.push(rest)

    def scores(self) -> tuple[float]:
        """Return ``(1.0,)`` when the text so far holds a match, else ``(0.0,)``."""
        return self._ahead.scores()

    def fork(self) -> NormalisedState:
        """Return an independent copy."""
        twin = NormalisedState(self._normaliser, self._state.fork())
        twin._reading = self._reading
        twin._ahead = twin._state if self._ahead is self._state else self._ahead.fork()
        return twin


def _compile(pattern: str, ignore_case: bool) -> re2._Regexp:
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.never_capture = True
    return re2.compile(pattern.encode(), options)


def _compile_all(patterns: Sequence[str], ignore_case: bool) -> re2._Regexp:
    """Compile an alternation; unlike ``re2.Set`` it never gives up a search for lack of memory."""
    try:
        return _compile("|".join(f"(?:{pattern})" for pattern in patterns), ignore_case)
    except re2.error as error:
        raise ClassifierError(
            f"the patterns are too large together: RE2 says {_reason(error)}; split them over two classifiers"
        ) from error


def _problems(
    literals: Sequence[str], patterns: Sequence[str], ignore_case: bool, tail_characters: int
) -> list[str]:
    problems = []
    if not literals and not patterns:
        problems.append("there is nothing to look for: give literals, patterns or both")
    if not 1 <= tail_characters <= MAX_TAIL_CHARACTERS:
        problems.append(f"tail_characters must be 1 to {MAX_TAIL_CHARACTERS}, got {tail_characters}")
    for literal in literals:
        if not literal:
            problems.append("a literal is empty, so it would be found in every text; remove it")
        elif not _encodable(literal):
            problems.append(f"literal {literal!r} holds half a surrogate pair, which no text can hold")
    for pattern in patterns:
        problems.extend(_pattern_problems(pattern, ignore_case))
    return problems


def _pattern_problems(pattern: str, ignore_case: bool) -> list[str]:
    if not _encodable(pattern):
        return [f"pattern {pattern!r} holds half a surrogate pair, which no text can hold"]
    try:
        compiled = _compile(pattern, ignore_case)
    except re2.error as error:
        return [f"pattern {pattern!r} is not valid in RE2: {_reason(error)}"]
    if compiled.search(b"") is not None:
        return [
            f"pattern {pattern!r} matches the empty text, so it would match every text; make it ask for more"
        ]
    return []


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
