"""The document's own program checks a log, without this library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from guardsteer.audit import verify
from tests.audit.support import segments, story, write_log


def test_the_program_in_the_document_agrees_with_verify(tmp_path: Path, repository: Path) -> None:
    text = (repository / "docs/audit.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(import hashlib.*?)```", text, flags=re.DOTALL)
    write_log(tmp_path, story("r ü"), segment_bytes=900, group=2)
    (stream,) = verify(tmp_path).streams
    command = [sys.executable, "-c", program, str(tmp_path), stream.name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, stream.head.hash), done.stderr
    path = segments(tmp_path)[1]
    path.write_bytes(path.read_bytes().replace(b'"warm"', b'"cold"', 1))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{path.name}:" in done.stderr
