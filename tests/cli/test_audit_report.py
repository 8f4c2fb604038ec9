"""``audit report`` writes pages, and its status says whether to rely on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guardsteer.cli.main import main
from guardsteer.core.events import Event
from guardsteer.rules.signing_keys import make_keys
from tests.report.logs import KEY, began, ended, finish, start, timed, write
from tests.report.reading import read_page


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of two requests."""
    events: list[Event] = []
    for name in ("r-1", "r-2"):
        act = began("empathy", 9, 0.5, name)
        events += [start(name, tenant="acme"), act, ended(act, 12), finish(name, 8, 4)]
    return write(tmp_path / "audit", timed(events))


def test_the_page_of_a_request_is_written(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, said = tmp_path / "deep" / "page.html", tmp_path / "said.json"
    said.write_text(json.dumps({"output": list(range(100, 108))}))
    (tmp_path / "key").write_bytes(KEY)
    options = ["--request", "r-1", "--text", str(said), "--key", str(tmp_path / "key"), "--out", str(out)]
    assert main(["audit", "report", str(log), *options]) == 0
    page = read_page(out.read_text(encoding="utf-8"))
    assert page.headings[0] == (1, "Request r-1")
    assert "The record is whole" in page.text
    assert "the log's keyed digest is that of this text" in page.text
    assert "the log is whole" in capsys.readouterr().out


def test_the_page_of_a_period_is_written_and_told_as_json(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "period.html"
    assert main(["audit", "report", str(log), "--since", "2020-01-01", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"ok": True, "verified": True, "page": str(out), "bytes": out.stat().st_size}
    page = read_page(out.read_text(encoding="utf-8"))
    assert page.table("Activations by tenant").rows[0][:3] == ["acme", "2", "8"]


def test_a_changed_log_gives_a_page_that_says_so_and_status_1(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (segment,) = log.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"applied":0.5', b'"applied":0.1', 1))
    out = tmp_path / "page.html"
    assert main(["audit", "report", str(log), "--request", "r-1", "--out", str(out)]) == 1
    assert "Not to be relied on" in read_page(out.read_text(encoding="utf-8")).text
    assert "NOT WHOLE" in capsys.readouterr().out
    assert main(["audit", "report", str(log), "--request", "r-2", "--out", str(out), "--no-verify"]) == 0
    assert "Not verified" in read_page(out.read_text(encoding="utf-8")).text


def test_anchors_and_trusted_keys_count_as_for_verify(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, anchor = tmp_path / "page.html", tmp_path / "anchor"
    assert main(["audit", "checkpoint", str(log), "--out", str(anchor)]) == 0
    common = ["audit", "report", str(log), "--request", "r-1", "--out", str(out)]
    assert main([*common, "--anchor", str(anchor)]) == 0
    _, public, _ = make_keys(tmp_path / "other")
    assert main([*common, "--trusted", str(public)]) == 1
    assert "Not to be relied on" in read_page(out.read_text(encoding="utf-8")).text
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--request", "nobody"], "the log holds no record of request 'nobody'"),
        (["--since", "yesterday"], "--since 'yesterday' is no time; expected a date (2026-11-21)"),
        (["--since", "2030-01-01"], "no record lies in that time; the log goes from"),
        (
            ["--since", "2026-02-01", "--until", "2026-01-01"],
            "--since 2026-02-01 is not before --until 2026-01-01",
        ),
        (["--request", "r-1", "--until", "2026-01-01"], "--until: for the page of a period"),
        (["--text", "x"], "--text: for the page of a request; give --request ID"),
        (["--request", "r-1", "--text", "/none"], "/none: the text cannot be read"),
        (
            ["--request", "r-1", "--keys", "/none"],
            "/none: no such folder; give the folder of the subjects' keys",
        ),
        (["--request", "r-1", "--key", "/none"], "/none: the key of the digests cannot be read"),
        (["--request", "r-1", "--tokenizer", "/none"], "/none: no tokenizer can be read there"),
        (["--no-verify", "--trusted", "x"], "--no-verify: leaves out what --anchor and --trusted are for"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    options: list[str], told: str, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    assert main(["audit", "report", str(log), "--out", str(out), *options]) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_a_page_that_cannot_be_written_is_an_error(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "page.html"
    assert main(["audit", "report", str(log), "--out", str(out)]) == 2
    assert "the page cannot be written" in capsys.readouterr().err


def test_making_a_page_loads_no_torch(log: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom guardsteer.cli.main import main\n"
        f"asked = ['audit', 'report', {str(log)!r}, '--out', {str(tmp_path / 'page')!r}]\n"
        "assert main([*asked, '--request', 'r-1']) == main(asked) == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
