"""Reading kept text back, and forgetting it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from guardsteer.audit.journal import open_journal
from guardsteer.audit.reader import read
from guardsteer.audit.records import StoredEvent
from guardsteer.audit.text.sealing import open_line
from guardsteer.audit.text.side_file import line_of
from guardsteer.audit.text.subject_keys import SubjectKeys
from guardsteer.core.events import RequestStarted, TextForgotten, TextKept
from guardsteer.errors import AuditError

__all__ = ["KeptText", "RequestTexts", "forget", "read_texts", "texts_of"]


@dataclass(frozen=True, slots=True)
class KeptText:
    """A prompt or an output: its tokens, and the text that each of them adds.

    ``problem`` says why it cannot be read, empty where it can; tokens and pieces are empty then.
    """

    record: TextKept
    tokens: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    problem: str = ""

    @property
    def text(self) -> str:
        """The text as a whole, special tokens by their names."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class RequestTexts:
    """What was kept of one request: its prompt, and the output of each row that it was expanded into.

    None, or not in ``outputs``, where nothing was kept. Text that was taken back or withheld never is.
    """

    prompt: KeptText | None = None
    outputs: Mapping[int, KeptText] = field(default_factory=dict)


def read_texts(directory: str | os.PathLike[str], keys: SubjectKeys, request: str) -> RequestTexts:
    """Return what the log in ``directory`` kept of a request; where an id was used again, of the last one.

    Raises ``AuditError`` where the log cannot be read, or a key cannot be unwrapped.
    """
    return texts_of(directory, keys, read(directory, request))


def texts_of(
    directory: str | os.PathLike[str], keys: SubjectKeys, trail: Iterable[StoredEvent]
) -> RequestTexts:
    """Return what was kept of the request whose records are ``trail``; otherwise as ``read_texts``."""
    path = Path(directory)
    name = ""
    kept: list[TextKept] = []
    for stored in trail:
        event = stored.event
        if isinstance(event, RequestStarted) and not event.track:
            name = event.text
        elif isinstance(event, TextKept):
            kept.append(event)
    prompt, outputs = None, {}
    for record in kept:
        if record.text != name:
            continue
        if record.part == "prompt":
            prompt = _open(path, keys, record)
        else:
            outputs[record.sequence] = _open(path, keys, record)
    return RequestTexts(prompt, outputs)


def forget(
    directory: str | os.PathLike[str], keys: SubjectKeys, subject: str, *, reason: str = ""
) -> tuple[str, ...]:
    """Destroy the keys of a subject, so that nobody can read its text again, and record that in the log.

    Returns the ids of what was destroyed. The log stays whole: it holds digests of what was encrypted, and
    that stays where it is. Raises ``AuditError`` where no text of this subject was kept, or the log, which
    is opened first, cannot be written.
    """
    if not Path(directory).is_dir():
        raise AuditError(f"{directory}: no such folder; give the folder that the log was written to")
    with open_journal(directory) as journal:
        try:
            destroyed = keys.destroy(subject)
        except OSError as error:
            raise AuditError(f"{keys.directory}: a key cannot be destroyed: {error}") from error
        if not destroyed:
            raise AuditError(
                f"{keys.directory} holds no key of the subject {subject!r}: none of its text was kept, or it "
                "was forgotten already; a subject is the request's 'subject', else its 'principal', else "
                "its tenant, else its id"
            )
        journal.append(TextForgotten(time_ns=time.time_ns(), keys=destroyed, reason=reason))
    return destroyed


def _open(directory: Path, keys: SubjectKeys, record: TextKept) -> KeptText:
    line = line_of(directory, record)
    if line is None:
        return KeptText(record, problem=f"its file {record.file} is gone, or ends before it")
    if sha256(line).hexdigest() != record.digest:
        return KeptText(record, problem="it was changed since it was written; see: guardsteer audit verify")
    key = keys.key_of(record.key)
    if key is None:
        return KeptText(record, problem=f"its key {record.key} was destroyed, or is not in {keys.directory}")
    said = open_line(
        line, key, text=record.text, part=record.part, sequence=record.sequence, key_id=record.key
    )
    if said is None:
        return KeptText(record, problem=f"the key {record.key} does not open it")
    return KeptText(record, said.tokens, said.pieces)
