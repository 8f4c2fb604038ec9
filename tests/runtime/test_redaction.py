"""No text of a request is written anywhere, in any form: searched for, byte by byte, with everything on."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import journal, read, verify
from guardsteer.audit.text import SubjectKeys, forget, read_texts, store
from guardsteer.audit.text.sealing import Said
from guardsteer.core.events import (
    ClassifierFailed,
    ClassifierTripped,
    PolicyRefused,
    RequestFailed,
    RowHalted,
)
from guardsteer.runtime import beginning
from guardsteer.runtime.requests import Request
from tests.runtime.everything import SECRETS, drive
from tests.runtime.harness import bench
from tests.runtime.leaks import forms, leaks, token_forms, written


@dataclass(frozen=True)
class Traces:
    """What a run left behind: folders, the program's own output, and what must not be in them."""

    folder: Path
    output: str
    wanted: tuple[tuple[str, bytes], ...]

    @property
    def found(self) -> list[str]:
        """Where a secret lies."""
        data = written([self.folder / "log", self.folder / "keys"])
        return leaks({**data, "output": self.output.encode()}, self.wanted)


def secrets_of(
    texts: Sequence[Sequence[int]], decode: Callable[[Sequence[int]], str]
) -> Iterator[tuple[str, bytes]]:
    """Yield all forms of the planted secrets, and of every run of eight tokens that was read or written."""
    for name, secret in SECRETS.items():
        # Each half too: what is cut, or split over two lines, is found.
        half = len(secret) // 2
        for part in (secret, secret[:half], secret[half:]):
            yield from ((f"{name} as {form}", data) for form, data in forms(part))
    for number, ids in enumerate(texts):
        for first in range(0, max(len(ids) - 8, 1), 4):
            run = ids[first : first + 8]
            text = decode(run)
            yield from ((f"text {number} as {form}", data) for form, data in token_forms(run))
            if len(text) >= 8:
                yield from ((f"text {number} as {form}", data) for form, data in forms(text))
        yield from ((f"text {number} as {form}", data) for form, data in token_forms(ids))


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[], Traces]:
    def run() -> Traces:
        texts = drive(tmp_path)
        out, err = capfd.readouterr()
        made = bench("llama")
        wanted = tuple(secrets_of(texts, lambda ids: str(made.tokenizer.decode(list(ids)))))
        return Traces(tmp_path, out + err, wanted)

    return run


def test_no_text_is_written_in_any_form_anywhere(run: Callable[[], Traces]) -> None:
    traces = run()
    assert len(traces.wanted) > 6_000
    assert "request.failed" in traces.output
    assert traces.found == []
    # All that could have quoted something is on record.
    events = [stored.event for stored in read(traces.folder / "log")]
    kinds = {type(event) for event in events}
    assert {ClassifierFailed, ClassifierTripped, PolicyRefused, RequestFailed, RowHalted} <= kinds
    assert verify(traces.folder / "log").ok
    # And the text is there, for whoever has the key.
    keys = SubjectKeys(traces.folder / "keys")
    found = read_texts(traces.folder / "log", keys, "r-0").prompt
    assert found is not None
    assert SECRETS["user"] in found.text
    forget(traces.folder / "log", keys, SECRETS["subject"], reason="asked for")
    assert traces.found == []


# --- that it would be found ---------------------------------------------------------------------


def test_an_error_told_in_its_own_words_is_found(
    run: Callable[[], Traces], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "failure_of", str)
    assert any("user as utf-8" in place for place in run().found)


def test_a_subject_in_the_context_is_found(
    run: Callable[[], Traces], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Request.__init__

    def init(self: Request, *args: Any, **fields: Any) -> None:
        made(self, *args, **fields)
        if self.subject:
            self.context["subject"] = self.subject  # type: ignore[index]  # a mapping here

    monkeypatch.setattr(Request, "__init__", init)
    assert any("subject as utf-8" in place for place in run().found)


@pytest.mark.parametrize("form", ["plain", "base64"])
def test_text_that_is_kept_in_the_open_is_found(
    form: str, run: Callable[[], Traces], monkeypatch: pytest.MonkeyPatch
) -> None:
    def seal(said: Said, **_: Any) -> bytes:
        open_text = json.dumps(said.tokens).encode()
        return open_text if form == "plain" else base64.b64encode(open_text)

    monkeypatch.setattr(store, "seal", seal)
    assert any("ids between ', '" in place for place in run().found)


def test_a_digest_that_anyone_can_make_is_found(
    run: Callable[[], Traces], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "keyed_digest", lambda _, data: hashlib.sha256(data).hexdigest())
    assert any("as sha256" in place for place in run().found)


@pytest.mark.parametrize("secret", [*SECRETS.values(), "Grüße aus Zürich an Łukasz"])
def test_every_form_of_a_secret_is_found_wherever_it_lies(secret: str) -> None:
    for before in range(4):
        around = b"x" * before
        for name, data in forms(secret):
            assert leaks({"file": around + data + b"y"}, [(name, data)]) == [f"file: {name}"]
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            encoded = base64.b64encode(around + secret.encode(encoding) + b"zz")
            assert leaks({"file": encoded}, forms(secret)), (encoding, before)
    assert not leaks({"file": b"nothing of the kind"}, forms(secret))


def test_token_ids_are_found_in_text_and_packed() -> None:
    tokens = [40, 77, 90, 101, 60, 45, 33, 17]
    assert leaks({"file": json.dumps(tokens).encode()}, token_forms(tokens))
    assert leaks({"file": json.dumps(tokens, separators=(",", ":")).encode()}, token_forms(tokens))
    packed = b"".join(token.to_bytes(8, "little") for token in tokens)
    assert leaks({"file": base64.b64encode(b"ab" + packed)}, token_forms(tokens))


def test_names_of_files_are_searched_too(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / SECRETS["subject"]).mkdir()
    assert leaks(written([tmp_path / "log"]), forms(SECRETS["subject"]))
