"""What was said is read from files and from the encrypted side file, cut into tokens and never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.audit.keys import KEY_FILE_NAME, key_name
from guardsteer.audit.text import SubjectKeys, forget, read_texts
from guardsteer.demo import load_model, model_path
from guardsteer.errors import AuditError
from guardsteer.report import Said, read_said, read_tokenizer, request_page, said_of_kept
from guardsteer.report.said import find_key, passage_of
from tests.report.logs import KEY, digest
from tests.report.reading import read_page


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Return the tokenizer of the demo model, as a caller of the command names it."""
    return read_tokenizer(model_path())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An answer.\n", Said(None, {0: "An answer."})),
        ("[1, 2]", Said(None, {0: "[1, 2]"})),
        ('{"output": [1, 2], "prompt": "Why?"}', Said("Why?", {0: (1, 2)})),
        ('{"outputs": ["one", [2]]}', Said(None, {0: "one", 1: (2,)})),
        ('{"prompt": [7]}', Said((7,), {})),
    ],
)
def test_a_file_is_a_text_or_says_which_is_which(text: str, expected: Said, tmp_path: Path) -> None:
    path = tmp_path / "said"
    path.write_text(text, encoding="utf-8")
    assert read_said(path) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"answer": "x"}', "got a JSON object with answer; expected a text"),
        ('{"output": [1, -2]}', "output: got .*-2.*, expected a text or a list of token ids"),
        ('{"output": 5}', "output: got 5, expected a text or a list of token ids"),
        ('{"outputs": "x"}', "outputs: got str, expected a list"),
        ("{}", "got a JSON object with nothing"),
    ],
)
def test_a_file_of_another_form_is_refused_with_what_was_expected(
    text: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "said"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AuditError, match=told):
        read_said(path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(AuditError, match="not UTF-8"):
        read_said(tmp_path / "bytes")
    with pytest.raises(AuditError, match="cannot be read"):
        read_said(tmp_path / "none")
    with pytest.raises(AuditError, match="no tokenizer can be read there"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize("text", ["I am sorry.", "Grüße, 東京 🙂!", "  two  spaces ", ""])
def test_the_pieces_of_a_text_are_the_text(text: str, tokenizer: Any) -> None:
    ids = tuple(tokenizer.encode(text, add_special_tokens=False).ids)
    passage = passage_of(text, tokenizer, tokens=len(ids), digest=digest(ids), key=KEY)
    assert passage is not None
    assert passage.pieces is not None
    assert len(passage.pieces) == len(ids)
    assert "".join(passage.pieces) == tokenizer.decode(list(ids), skip_special_tokens=False)
    assert passage.check == "matches"


def test_the_token_that_ends_a_text_is_found_though_the_text_lacks_it(tokenizer: Any) -> None:
    ids = tuple(tokenizer.encode("I am sorry.", add_special_tokens=False).ids)
    end = tokenizer.token_to_id("<|end|>")
    found = passage_of("I am sorry.", tokenizer, tokens=len(ids) + 1, digest=digest((*ids, end)), key=KEY)
    assert found is not None
    assert (found.ids, found.check) == ((*ids, end), "matches")


def test_a_key_is_taken_only_where_it_is_the_logs_and_none_is_ever_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_key(tmp_path, [key_name(KEY)]) is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / KEY_FILE_NAME).write_bytes(KEY + b"\n")
    assert find_key(tmp_path, [key_name(KEY)]) == KEY
    assert find_key(tmp_path, ["0" * 16]) is None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"another key, 32 bytes long......")
    monkeypatch.setenv("GUARDSTEER_AUDIT_KEY_FILE", str(elsewhere))
    assert find_key(tmp_path, [key_name(elsewhere.read_bytes())]) == elsewhere.read_bytes()


def test_a_guarded_answer_is_shown_from_the_side_file_until_it_is_forgotten(tmp_path: Path) -> None:
    """Under the demo's policy: the tokens that the page shades are those that the log says were steered."""
    model, tokenizer = load_model()
    log, keys = tmp_path / "log", tmp_path / "keys"
    asked = "I was charged for the invoice on the Plus plan. How long do I have to get a refund?"
    with guardsteer.wrap(model, tokenizer, policy="demo", audit=log, audit_text=keys) as guard:
        inputs = guard.chat([{"role": "user", "content": asked}])
        inputs["guard"][0].update(request="r-1", tenant="acme", principal="ada")
        ids = guard.generate(**inputs, max_new_tokens=24, do_sample=False)
    written = ids[0, inputs["input_ids"].shape[1] :].tolist()
    kept = said_of_kept(read_texts(log, SubjectKeys(keys), "r-1"))
    page = read_page(request_page(log, "r-1", said=kept))
    assert "Prompt and answer: the log's keyed digest is that of this text" in page.text
    assert asked in page.text
    answer = [token for token in page.tokens if token.told.startswith("token at")]
    assert "".join(token.text for token in answer) == tokenizer.decode(written)
    events = [json.loads(line) for path in log.glob("*.jsonl") for line in path.read_text().splitlines()]
    (end,) = (event for event in events if event["kind"] == "request_ended")
    assert sum("nothing acted" not in token.told for token in answer) == end["steered_tokens"] > 0
    assert "acme" in page.text
    assert "ada" in page.text
    forget(log, SubjectKeys(keys), "ada")
    gone = read_page(request_page(log, "r-1", said=said_of_kept(read_texts(log, SubjectKeys(keys), "r-1"))))
    assert asked not in gone.text
    assert "the kept text cannot be read" in gone.text
    assert "Positions of the tokens that were written" in gone.text
