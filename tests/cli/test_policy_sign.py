"""Keys are made, policies signed and verified from the command line; the status says what holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardsteer.cli.main import main


@pytest.fixture
def keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a folder with a pair of keys and a policy."""
    assert main(["policy", "keygen", str(tmp_path / "ada")]) == 0
    shown = capsys.readouterr().out
    assert "ada.pub" in shown
    assert "PRIVATE" not in shown
    (tmp_path / "policy.yaml").write_text("guardsteer: 1\nname: quiet\n")
    return tmp_path


def test_a_policy_is_signed_and_verified(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign = ["policy", "sign", str(keys), "--key", str(keys / "ada.key"), "--by", "Ada"]
    assert main([*sign, "--at", "2026-01-31T12:00:00Z"]) == 0
    assert "approved by Ada" in capsys.readouterr().out
    verify = ["policy", "verify", str(keys), "--trusted", str(keys)]
    assert main(verify) == 0
    assert "approved by Ada at 2026-01-31T12:00:00Z with key ed25519:" in capsys.readouterr().out
    assert main([*verify, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["approval"]["by"] == "Ada"
    (keys / "policy.yaml").write_text("guardsteer: 1\nname: loud\n")
    assert main(verify) == 1
    assert "NOT APPROVED (wrong_digest)" in capsys.readouterr().out
    assert main([*verify, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["reason"]) == (False, "wrong_digest")


def test_misuse_is_told_from_a_policy_that_is_not_approved(
    keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "verify", str(keys), "--trusted", str(keys)]) == 1
    assert "unsigned" in capsys.readouterr().out
    assert main(["policy", "verify", str(keys), "--trusted", str(keys / "policy.yaml")]) == 2
    assert "no public key" in capsys.readouterr().err
    sign = ["policy", "sign", str(keys), "--by", "Ada", "--key"]
    assert main([*sign, str(keys / "ada.pub")]) == 2
    assert "no private key" in capsys.readouterr().err
    assert main([*sign, str(keys / "ada.key"), "--at", "yesterday"]) == 2
    assert "expected UTC" in capsys.readouterr().err
    assert main(["policy", "keygen", str(keys / "ada")]) == 2
    assert "never overwritten" in capsys.readouterr().err
