"""The document's own program checks a log, without this library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from guardsteer.audit import verify
from tests.audit.support import checkpoint, segments, story, write_log


def test_the_program_in_the_document_agrees_with_verify(tmp_path: Path, repository: Path) -> None:
    text = (repository / "docs/audit.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(import base64.*?)```", text, flags=re.DOTALL)
    write_log(tmp_path, story("r ü"), segment_bytes=1000, group=2)
    (stream,) = verify(tmp_path).streams
    command = [sys.executable, "-c", program, str(tmp_path), stream.name]
    done = subprocess.run(command, capture_output=True, text=True)
    _, size, root = stream.checkpoint.splitlines()[:3]
    assert (done.returncode, done.stdout.split()) == (0, [size, root]), done.stderr
    path = segments(tmp_path)[1]
    path.write_bytes(path.read_bytes().replace(b'"warm"', b'"cold"', 1))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{path.name}:" in done.stderr
    path.write_bytes(path.read_bytes().replace(b'"cold"', b'"warm"', 1))
    kept = checkpoint(tmp_path)
    kept.write_text(kept.read_text().replace(root, "A" * 43 + "="))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not the root" in done.stderr


def test_the_validating_program_in_the_document_takes_a_log_and_finds_a_strange_line(
    tmp_path: Path, repository: Path
) -> None:
    pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")
    text = (repository / "docs/audit.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(import json, pathlib.*?)```", text, flags=re.DOTALL)
    write_log(tmp_path, story())
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"up":true', b'"up":"yes"', 1))
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "ValidationError" in done.stderr
