"""``audit compact``, ``query`` and ``export``, as somebody uses them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from guardsteer.audit.index import QUESTIONS
from guardsteer.cli.main import main
from tests.audit.index.support import events, lines_of, write


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log."""
    write(tmp_path / "audit", events(0, requests=20))
    return tmp_path / "audit"


@pytest.fixture
def index(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return its index."""
    assert main(["audit", "compact", str(log), "--out", str(tmp_path / "index")]) == 0
    capsys.readouterr()
    return tmp_path / "index"


def alter(log: Path) -> None:
    (path,) = log.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"reason":"eos"', b'"reason":"eot"', 1))


def test_compact_says_what_is_new_and_whether_it_was_verified(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "index")
    lines = sum(map(len, lines_of(log).values()))
    assert main(["audit", "compact", str(log), "--out", out]) == 0
    assert f"{lines:,} lines added" in (said := capsys.readouterr().out)
    assert "not verified" in said
    assert main(["audit", "compact", str(log), "--out", out, "--verify"]) == 0
    assert "0 lines added" in (said := capsys.readouterr().out)
    assert said.rstrip().endswith("; verified")
    assert main(["audit", "compact", str(log), "--out", out, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert answer["streams"][0]["verified"] == answer["streams"][0]["lines"] == lines


def test_compact_of_an_altered_log_has_status_1(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alter(log)
    assert main(["audit", "compact", str(log), "--out", str(tmp_path / "a"), "--verify"]) == 1
    assert "FINDING" in capsys.readouterr().err
    assert main(["audit", "compact", str(log), "--out", str(tmp_path / "b")]) == 1
    assert "1 do not fit to the line before" in capsys.readouterr().err
    for source in (log, tmp_path / "b"):
        assert main(["audit", "query", str(source), "steered"]) == 1
        assert "1 do not fit to the line before" in capsys.readouterr().err


def test_the_questions_are_listed(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "query", str(log)]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(QUESTIONS)
    assert main(["audit", "query", str(log), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["questions"]) == list(QUESTIONS)


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "request"])
def test_every_question_is_answered_as_table_json_and_csv(
    log: Path, index: Path, capsys: pytest.CaptureFixture[str], question: str
) -> None:
    assert main(["audit", "query", str(index), question]) == 0
    table = capsys.readouterr().out
    assert main(["audit", "query", str(log), question, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert main(["audit", "query", str(index), str(log), question, "--csv"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == answer["columns"]
    assert len(rows) - 1 == len(answer["rows"])
    assert len(table.splitlines()) - 2 == len(answer["rows"]) or not answer["rows"]


def test_one_request_is_found_and_an_unknown_one_has_status_1(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "query", str(index), "--request", "r-0-3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["kind"] == "request_started"
    assert main(["audit", "query", str(index), "request", "--request", "r-9"]) == 1
    assert capsys.readouterr().out == "nothing\n"


def test_options_narrow_an_answer(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    narrow = ["--since", "2025-01-07", "--until", "2025-01-08T00:00+00:00", "--tenant", "acme"]
    assert main(["audit", "query", str(index), "requests", *narrow, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {(row["tenant"], row["started"][:10]) for row in rows} == {("acme", "2025-01-07")}
    assert (
        main(["audit", "query", str(index), "activations", "--rule", "warm", "--by", "tenant,rule", "--json"])
        == 0
    )
    assert {row["rule"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"warm"}
    assert main(["audit", "query", str(index), "requests", "--limit", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2
    assert main(["audit", "query", str(index), "requests", "--since", "90m"]) == 0
    assert capsys.readouterr().out == "nothing\n"


def test_sql_answers_and_cannot_write(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "SELECT count(*) AS n FROM requests"
    assert main(["audit", "query", str(index), "--sql", query, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"columns": ["n"], "rows": [{"n": 20}]}
    assert main(["audit", "query", str(index), "--sql", f"COPY records TO '{tmp_path}/x'"]) == 2
    assert "one SELECT; got COPY" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_json_within_a_record_is_json_in_the_answer(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = (
        "SELECT body->'$.context' AS context, 'a' AS body FROM records WHERE kind = 'request_started' LIMIT 1"
    )
    assert main(["audit", "query", str(index), "--sql", query, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert isinstance(row["context"], dict)
    assert row["body"] == "a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "'nonsense' is neither a folder nor a question; expected one of activations"),
        (["activations", "--by", "flag"], "cannot be told by flag: it is told by rule, vector"),
        (["request"], "needs the id of a request"),
        (["steered", "--request", "r"], "not about one request"),
        (["gaps", "--tenant", "acme"], "--tenant and --rule have no part in it"),
        (["steered", "--since", "yesterday"], "--since 'yesterday' is no time; expected a date"),
        (["steered", "--since", "2025-02-01", "--until", "2025-01-01"], "is not before --until"),
        (["steered", "--limit", "-1"], "--limit -1: expected 0 or more"),
        (["steered", "--csv", "--json"], "--csv or --json"),
        (["steered", "--sql", "SELECT 1"], "--sql is the question itself"),
        (["--sql", "SELECT nothing FROM records"], "nothing"),
    ],
)
def test_misuse_is_told_in_words(
    index: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["audit", "query", str(index), *words]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_log_and_no_index_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent, empty = str(tmp_path / "absent"), str(tmp_path)
    out = ["--out", str(tmp_path / "out")]
    for words in (
        ["query", absent, "steered"],
        ["query", "steered"],
        ["compact", absent, *out],
        ["export", absent, "--format", "csv", *out],
    ):
        assert main(["audit", *words]) == 2
        assert "folder" in capsys.readouterr().err
    assert main(["audit", "query", empty, "steered"]) == 2
    assert "neither an audit log nor an index" in capsys.readouterr().err
    assert main(["audit", "compact", empty, *out]) == 2
    assert "there is no audit log here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_export_writes_a_file(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    export = ["audit", "export", str(index), "--format", "jsonl", "--out", str(out)]
    assert main([*export, "--tenant", "acme"]) == 0
    assert f"{out}: {len(out.read_text().splitlines()):,} records" in capsys.readouterr().out
    assert main(export) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*export[:-1], str(tmp_path / "other"), "--what", "requests", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 20


def test_without_the_extra_it_says_how_to_install_it(
    log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for missing in ("duckdb", "pyarrow"):
        monkeypatch.setitem(sys.modules, missing, None)
        assert main(["audit", "query", str(log), "steered"]) == 2
        assert 'pip install "guardsteer[query]"' in capsys.readouterr().err
        assert main(["audit", "compact", str(log), "--out", str(tmp_path / "new")]) == 2
        assert 'pip install "guardsteer[query]"' in capsys.readouterr().err
        monkeypatch.delitem(sys.modules, missing)
