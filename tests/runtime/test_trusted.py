"""A guard that trusts some keys takes no policy and no binding file that none of them signed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import read, verify
from guardsteer.core.events import PolicyAdopted
from guardsteer.core.policy import Binding
from guardsteer.errors import SignatureError
from guardsteer.rules import load_policy
from guardsteer.rules.signing import load_policy_signed, sign_policy
from guardsteer.rules.signing_keys import make_keys, read_private
from guardsteer.runtime.wrapping import SIGNING_KEY_VARIABLE
from tests.runtime.harness import POLICY, Bench, bench
from tests.runtime.telling import PROMPTS, TOKENS, run, wrap

AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
Sign = Callable[[Path], Path]


@pytest.fixture
def made() -> Bench:
    return bench("llama")


@pytest.fixture
def sign(tmp_path: Path) -> Sign:
    """Return what signs a file with Ada's key, which ``keys`` holds."""
    (tmp_path / "keys").mkdir()
    private, public, _ = make_keys(tmp_path / "ada")
    public.rename(tmp_path / "keys" / "ada.pub")
    return lambda path: sign_policy(path, read_private(private), by="Ada Lovelace", at=AT)


def trusting(made: Bench, folder: Path, **options: Any) -> Any:
    return wrap(made, folder, POLICY, trusted=folder / "keys", **options)


def test_a_signed_policy_is_taken_and_who_approved_it_is_on_record(
    made: Bench, sign: Sign, tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    sign(path)
    with trusting(made, tmp_path) as guard:
        assert run(guard, PROMPTS[:1]) == [made.reference.generate(PROMPTS[0], TOKENS)]
    adopted = [s.event for s in read(tmp_path / "log") if isinstance(s.event, PolicyAdopted)]
    assert [(a.approved_by, a.approved_at) for a in adopted] == [("Ada Lovelace", "2026-01-31T12:00:00Z")]
    assert adopted[0].approval_key == guard.policy.approval.key


def test_an_unsigned_policy_is_refused_and_so_is_one_changed_since(
    made: Bench, sign: Sign, tmp_path: Path
) -> None:
    with pytest.raises(SignatureError, match="not signed"):
        trusting(made, tmp_path)
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("0.8", "0.9"))
    sign(path)
    with pytest.raises(SignatureError, match="not what was signed"):
        trusting(made, tmp_path)
    assert "generate" not in vars(made.model)


def test_a_policy_that_was_handed_over_must_carry_its_approval(
    made: Bench, sign: Sign, tmp_path: Path
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(POLICY)
    loaded = load_policy(path, outputs=lambda _: ("score",))
    sign(path)
    signed = load_policy_signed(path, tmp_path / "keys", outputs=lambda _: ("score",))
    (tmp_path / "policy.yaml").write_text(POLICY)
    sign(tmp_path / "policy.yaml")
    with pytest.raises(SignatureError, match="handed over unsigned"):
        trusting(made, tmp_path, candidates={"new": loaded})
    with trusting(made, tmp_path, candidates={"new": signed}) as guard:
        with pytest.raises(SignatureError, match="handed over unsigned"):
            guard.reload(loaded)
        assert guard.reload(signed) == signed.digest


def test_a_candidate_and_a_policy_that_is_adopted_later_must_be_signed_too(
    made: Bench, sign: Sign, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    sign(tmp_path / "policy.yaml")
    other = tmp_path / "other.yaml"
    other.write_text(POLICY.replace("name: scripted", "name: other"))
    with pytest.raises(SignatureError, match="not signed"):
        trusting(made, tmp_path, candidates={"new": other})
    with trusting(made, tmp_path) as guard:
        with pytest.raises(SignatureError, match="not signed"):
            guard.reload(other)
        assert guard.policy.name == "scripted"
        sign(other)
        guard.reload(other)
        assert (guard.policy.name, guard.policy.approval.by) == ("other", "Ada Lovelace")


def test_a_binding_file_must_be_signed_too(made: Bench, sign: Sign, tmp_path: Path) -> None:
    """Whoever could change it unseen could switch the policy off."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    sign(tmp_path / "policy.yaml")
    binding = tmp_path / "binding.yaml"
    binding.write_text("mode: shadow\n")
    with pytest.raises(SignatureError, match="not signed"):
        trusting(made, tmp_path, binding=binding)
    sign(binding)
    with trusting(made, tmp_path, binding=binding) as guard:
        assert guard.policy.binding == Binding(mode="shadow")


def test_a_log_that_a_guard_opens_is_begun_with_the_key_that_the_environment_names(
    made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _, _ = make_keys(tmp_path / "operator")
    trusted = [read_private(private).public_key().public_bytes_raw()]
    with wrap(made, tmp_path):
        pass
    assert not verify(tmp_path / "log", trusted=trusted).ok
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, str(private))
    with wrap(made, tmp_path, audit=tmp_path / "signed"):
        pass
    found = verify(tmp_path / "signed", trusted=trusted)
    assert found.ok
    assert found.streams[0].vouched_by == trusted[0].hex()
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, str(tmp_path / "absent.key"))
    with pytest.raises(SignatureError, match="cannot be read"):
        wrap(made, tmp_path, audit=tmp_path / "other")
    assert "generate" not in vars(made.model)
