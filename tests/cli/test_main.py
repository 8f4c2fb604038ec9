"""The frame of the command line: help, exit status, errors in one line, nothing heavy at start."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from guardsteer import __version__
from guardsteer.cli import frame, main
from guardsteer.errors import AuditError, PolicyError, Problem

ACTIONS = [
    ["demo"],
    ["run"],
    ["prepare"],
    ["doctor"],
    ["policy", "check"],
    ["vectors", "extract"],
    ["vectors", "show"],
    ["vectors", "to-probe"],
    ["classifiers", "train"],
    ["classifiers", "eval"],
    ["classifiers", "show"],
    ["audit", "show"],
    ["audit", "verify"],
    ["telemetry", "metrics"],
    ["telemetry", "dashboard"],
]


def test_every_command_is_covered_by_these_tests() -> None:
    assert {words[0] for words in ACTIONS} == set(main.COMMANDS)


@pytest.mark.parametrize("words", ACTIONS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main.main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert "guardsteer " + " ".join(words) in text.split("example")[1]


def test_without_a_command_help_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 0
    text = capsys.readouterr().out
    for name, (_, summary) in main.COMMANDS.items():
        assert name in text
        assert summary.split()[0] in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"guardsteer {__version__}"


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["doctor", "--no-such-option"],
        ["audit"],
        ["policy", "check"],
        ["audit", "verify"],
    ],
)
def test_misuse_is_status_2(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main.main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "error" in err


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from guardsteer.cli.main import main\n"
        "assert main(['--help']) == 0\n"
        "assert main(['doctor', '--help']) == 0\n"
        "assert main(['policy', 'check', '--help']) == 0\n"
        "assert main(['audit', 'verify', '--help']) == 0\n"
        "found = {'torch', 'transformers', 'sklearn', 'onnxruntime', 'pydantic'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def use_command(monkeypatch: pytest.MonkeyPatch, result: int | BaseException) -> None:
    """Put a command ``probe`` in place that returns or raises ``result``."""

    def register(subparsers: frame.Subparsers) -> None:
        frame.add_command(subparsers, "probe", "try", "guardsteer probe")

    def run(_args: object) -> int:
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setitem(sys.modules, "probe_command", SimpleNamespace(register=register, run=run))
    monkeypatch.setitem(main.COMMANDS, "probe", ("probe_command", "try"))


@pytest.mark.parametrize("status", [0, 1])
def test_the_commands_status_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    use_command(monkeypatch, status)
    assert main.main(["probe"]) == status


def test_a_guardsteer_error_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_command(monkeypatch, AuditError("audit/: no such folder"))
    assert main.main(["probe"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "guardsteer: error: audit/: no such folder\n")


def test_json_carries_the_error_and_every_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_command(monkeypatch, PolicyError([Problem("p.yaml", 3, 7, "unknown flag 'x'", "did you mean 'y'?")]))
    assert main.main(["probe", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == "PolicyError"
    assert answer["problems"] == [
        {"file": "p.yaml", "line": 3, "column": 7, "message": "unknown flag 'x'", "hint": "did you mean 'y'?"}
    ]


def test_a_file_that_cannot_be_read_is_misuse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_command(monkeypatch, FileNotFoundError(2, "No such file or directory", "prompts.jsonl"))
    assert main.main(["probe"]) == 2
    assert "prompts.jsonl" in capsys.readouterr().err


def test_a_defect_is_not_dressed_up_as_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    use_command(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main.main(["probe"])


def test_an_interrupt_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_command(monkeypatch, KeyboardInterrupt())
    assert main.main(["probe"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} -m guardsteer doctor --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0
    assert not done.stderr


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    frame.progress("half way")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_needs_a_terminal_that_wants_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert not frame.use_color()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert frame.use_color()
    monkeypatch.setenv(name, value)
    assert not frame.use_color()
