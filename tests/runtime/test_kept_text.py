"""Text is kept where that is asked for: encrypted, by subject, without a hand in what is generated."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.audit import open_journal, read, trail, verify
from guardsteer.audit.text import SubjectKeys, forget, open_text_store, read_texts, texts_of
from guardsteer.cli.main import main
from guardsteer.core.events import RequestStarted, RowRevised, TextKept
from guardsteer.errors import AuditError
from tests.runtime.harness import POLICY, SPECIAL, Bench, bench, policy_file
from tests.runtime.telling import PROMPTS, TOKENS, run, wrap


@pytest.fixture(scope="module")
def made() -> Bench:
    return bench("llama")


@pytest.fixture
def keys(tmp_path: Path) -> SubjectKeys:
    return SubjectKeys(tmp_path / "keys")


def kept(folder: Path) -> list[TextKept]:
    return [stored.event for stored in read(folder / "log") if isinstance(stored.event, TextKept)]


def test_prompt_and_answer_of_every_row_are_kept(made: Bench, keys: SubjectKeys, tmp_path: Path) -> None:
    with wrap(made, tmp_path, audit_text=tmp_path / "keys") as guard:
        written = run(guard, guard=[{"tenant": "acme"}, {"principal": "bob"}, {}])
    for place, (prompt, answer) in enumerate(zip(PROMPTS, written, strict=True)):
        found = read_texts(tmp_path / "log", keys, f"r{place}")
        assert found.prompt is not None
        assert found.prompt.tokens == tuple(prompt)
        assert found.prompt.text == made.tokenizer.decode(prompt)
        assert found.outputs[0].tokens == tuple(answer)
        assert found.outputs[0].text == made.tokenizer.decode(answer)
        assert len(found.outputs[0].pieces) == len(answer)
    assert verify(tmp_path / "log").ok


def test_special_tokens_are_kept_by_their_names(made: Bench, keys: SubjectKeys, tmp_path: Path) -> None:
    with wrap(made, tmp_path, audit_text=tmp_path / "keys") as guard:
        run(guard, [[1, *PROMPTS[0]]], guard=[{}])
    found = read_texts(tmp_path / "log", keys, "r0").prompt
    assert found is not None
    assert found.pieces[0] == "<bos>"


def test_nothing_is_kept_unless_it_is_asked_for(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard:
        run(guard, guard=[{"subject": "ann"}] * 3)
    assert kept(tmp_path) == []
    assert not (tmp_path / "log" / "text").exists()
    assert {each.event.text for each in read(tmp_path / "log") if isinstance(each.event, RequestStarted)} == {
        ""
    }


def test_keeping_text_changes_no_token(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path, audit=None) as guard:
        alone = run(guard)
    with wrap(made, tmp_path, audit_text=tmp_path / "keys") as guard:
        assert run(guard) == alone


@pytest.mark.parametrize(
    ("about", "subject"),
    [
        ({"subject": "ann", "principal": "bob", "tenant": "acme"}, "ann"),
        ({"principal": "bob", "tenant": "acme"}, "bob"),
        ({"tenant": "acme"}, "acme"),
        ({}, "r0"),
    ],
    ids=["subject", "principal", "tenant", "request"],
)
def test_the_subject_is_the_nearest_that_the_request_names(
    about: dict[str, str], subject: str, made: Bench, keys: SubjectKeys, tmp_path: Path
) -> None:
    with wrap(made, tmp_path, audit_text=tmp_path / "keys") as guard:
        run(guard, PROMPTS[:1], guard=[about])
    others = {"ann", "bob", "acme", "r0"} - {subject}
    for other in others:
        with pytest.raises(AuditError, match="no key of the subject"):
            forget(tmp_path / "log", keys, other)
    assert len(forget(tmp_path / "log", keys, subject)) == 1
    found = read_texts(tmp_path / "log", keys, "r0").prompt
    assert found is not None
    assert "was destroyed" in found.problem
    assert verify(tmp_path / "log").ok


@pytest.mark.parametrize("options", [{"num_return_sequences": 2, "do_sample": True}, {"num_beams": 2}])
def test_a_request_that_is_expanded_has_one_prompt_and_an_answer_for_each_row(
    options: dict[str, Any], made: Bench, keys: SubjectKeys, tmp_path: Path
) -> None:
    with wrap(made, tmp_path, audit_text=tmp_path / "keys") as guard:
        written = run(guard, PROMPTS[:2], guard=[{}] * 2, **options)
    rows = options.get("num_return_sequences", 1)
    for place in range(2):
        found = read_texts(tmp_path / "log", keys, f"r{place}")
        assert [list(found.outputs[n].tokens) for n in sorted(found.outputs)] == written[
            place * rows : (place + 1) * rows
        ]
    assert [each.part for each in kept(tmp_path)].count("prompt") == 2


def test_what_was_taken_back_or_withheld_is_not_kept(made: Bench, keys: SubjectKeys, tmp_path: Path) -> None:
    text = POLICY + "  - {id: again, when: step == 4, revise: {tokens: 2, then: continue}}\n"
    with wrap(made, tmp_path, text, audit_text=tmp_path / "keys") as guard:
        (written,) = run(guard, PROMPTS[:1], guard=[{}])
    found = read_texts(tmp_path / "log", keys, "r0")
    assert any(isinstance(stored.event, RowRevised) for stored in read(tmp_path / "log"))
    assert list(found.outputs[0].tokens) == written
    assert len(written) == TOKENS


def test_a_row_that_raised_has_its_prompt_kept(made: Bench, keys: SubjectKeys, tmp_path: Path) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("streamer")

    streamer = type("Streamer", (), {"put": fail, "end": fail})()
    with wrap(made, tmp_path, audit_text=tmp_path / "keys") as guard, pytest.raises(KeyError):
        run(guard, PROMPTS[:1], guard=[{}], streamer=streamer)
    found = read_texts(tmp_path / "log", keys, "r0")
    assert found.prompt is not None
    assert found.prompt.tokens == tuple(PROMPTS[0])
    assert found.outputs == {}


def test_two_guards_may_share_a_store(made: Bench, keys: SubjectKeys, tmp_path: Path) -> None:
    other = bench("gpt2")
    with open_journal(tmp_path / "log") as journal:
        store = open_text_store(journal, keys)
        for number, one in enumerate((made, other)):
            with wrap(one, tmp_path, audit=journal, audit_text=store) as guard:
                run(guard, PROMPTS[:1], guard=[{"subject": f"s{number}"}])
            # A guard that goes leaves the store to the others.
            assert not store.failed
        told = [each for each in kept(tmp_path) if each.part == "prompt"]
        assert len({each.key for each in told}) == 2
        store.close()


def test_text_without_a_log_or_beside_another_one_is_refused(
    made: Bench, keys: SubjectKeys, tmp_path: Path
) -> None:
    with pytest.raises(AuditError, match="give audit=FOLDER too"):
        wrap(made, tmp_path, audit=None, audit_text=tmp_path / "keys")
    with pytest.raises(AuditError, match="lie within the log's folder"):
        wrap(made, tmp_path, audit_text=tmp_path / "log" / "keys")
    assert not (tmp_path / "log" / "keys").exists()
    with open_journal(tmp_path / "one") as one, open_journal(tmp_path / "two") as two:
        store = open_text_store(one, keys)
        with pytest.raises(AuditError, match="audit is another log"):
            wrap(made, tmp_path, audit=two, audit_text=store)
        store.close()
    # None of these left the model guarded.
    wrap(made, tmp_path, audit=None).detach()


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """No room for side files, and for nothing else, while the list holds True."""
    real, full = os.write, [True]

    def write(descriptor: int, data: Any) -> int:
        if full[0] and b'"nonce"' in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    yield full
    full[0] = False


@pytest.mark.parametrize("on_error", ["closed", "open"])
def test_text_that_cannot_be_kept_counts_as_the_policy_says(
    on_error: str, no_room: list[bool], made: Bench, keys: SubjectKeys, tmp_path: Path
) -> None:
    bare = run(made.model)
    with wrap(made, tmp_path, audit=None) as guard:
        steered = run(guard)
    assert bare != steered
    text = POLICY + f"audit: {{on_error: {on_error}}}\n"
    journal = open_journal(tmp_path / "log")
    store = open_text_store(journal, keys)
    guard = wrap(made, tmp_path, text, audit=journal, audit_text=store)
    run(guard, PROMPTS[:1], guard=[{"request": "first"}])
    deadline_s = time.monotonic() + 10
    while not store.failed and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert store.failed
    assert not journal.failed
    assert run(guard) == (bare if on_error == "closed" else steered)
    no_room[0] = False
    while store.failed and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert run(guard) == steered
    guard.detach()
    store.close()
    journal.close()
    assert len([each for each in kept(tmp_path) if each.part == "prompt"]) == 7
    assert verify(tmp_path / "log").ok


def test_the_texts_of_a_trail_are_those_of_the_request(
    made: Bench, keys: SubjectKeys, tmp_path: Path
) -> None:
    with wrap(made, tmp_path, audit_text=tmp_path / "keys") as guard:
        run(guard, guard=[{}] * 3)
    log = tmp_path / "log"
    assert texts_of(log, keys, trail(log, "r1")) == read_texts(log, keys, "r1")


# --- the commands -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log(made: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder),
        vectors=made.vectors,
        classifiers=made.classifiers,
        audit=folder / "log",
        audit_text=folder / "keys",
    ) as guard:
        run(guard, PROMPTS[:2], guard=[{"subject": "ann"}, {"subject": "bob"}], suppress_tokens=list(SPECIAL))
    return folder


def test_the_text_of_a_request_is_shown_and_cannot_steer_the_terminal(
    log: Path, made: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["audit", "text", str(log / "log"), "--request", "r0", "--keys", str(log / "keys")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert made.tokenizer.decode(PROMPTS[0]) == "%JWb9*\x1e"
    assert "%JWb9*\\x1e\n" in shown
    assert "--- prompt, 7 tokens" in shown
    assert f"--- output, {TOKENS} tokens" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert main([*command, "--json"]) == 0
    assert '"part": "prompt"' in capsys.readouterr().out


def test_mistakes_with_text_are_told(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["audit", "text", str(log / "log"), "--request"]
    assert main([*where, "r9", "--keys", str(log / "keys")]) == 1
    assert "holds no text of request 'r9'" in capsys.readouterr().err
    assert main([*where, "r0", "--keys", str(log / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (log / "none").exists()
    (log / "other").mkdir(exist_ok=True)
    assert main([*where, "r0", "--keys", str(log / "other")]) == 1
    assert "was destroyed, or is not in" in capsys.readouterr().out


def test_a_subject_is_forgotten_by_command(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["audit", "forget", str(log / "log"), "bob", "--keys", str(log / "keys"), "--reason", "asked"]
    assert main(command) == 0
    assert "cannot be read any more" in capsys.readouterr().out
    assert main(["audit", "verify", str(log / "log")]) == 0
    assert main(["audit", "text", str(log / "log"), "--request", "r1", "--keys", str(log / "keys")]) == 1
    assert "was destroyed" in capsys.readouterr().out
    assert main(command) == 2
    assert "forgotten already" in capsys.readouterr().err
    assert main(["audit", "show", str(log / "log")]) == 0
    assert "all text under it: asked" in capsys.readouterr().out
