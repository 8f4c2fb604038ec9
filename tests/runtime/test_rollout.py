"""A rollout decides row by row who is under the policy, and the audit says in which arm everybody was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from guardsteer.core.policy import Binding
from guardsteer.rules.rollout import is_within
from tests.runtime.harness import POLICY, batch, bench
from tests.runtime.telling import PROMPTS, kinds, run, told, wrap

HALF: dict[str, Any] = {
    "percent": 50.0,
    "by": "request.tenant",
    "salt": "s",
    "arm": "new",
    "other_arm": "old",
}
TENANTS = [f"tenant-{n}" for n in range(40)]
INSIDE = [tenant for tenant in TENANTS if is_within(tenant, 50.0, "s")]
OUTSIDE = [tenant for tenant in TENANTS if not is_within(tenant, 50.0, "s")]


@pytest.mark.parametrize("otherwise", ["off", "shadow"])
@pytest.mark.parametrize(
    "options", [{}, {"use_cache": False}, {"num_beams": 2}], ids=["cache", "no cache", "beams"]
)
def test_rows_of_one_batch_are_steered_or_bare_as_the_rollout_says(
    options: dict[str, Any], otherwise: Any, tmp_path: Path
) -> None:
    made = bench("llama")
    bare = run(made.model, **options)
    with wrap(made, tmp_path) as guard:
        steered = run(guard, **options)
    within = [True, False, True]
    guards = [{"tenant": (INSIDE if inside else OUTSIDE)[n]} for n, inside in enumerate(within)]
    with wrap(made, tmp_path, binding=Binding(**HALF, otherwise=otherwise)) as guard:
        found = run(guard, guard=guards, **options)
    assert found == [(steered if inside else bare)[n] for n, inside in enumerate(within)]
    for n, inside in enumerate(within):
        events = told(tmp_path, f"r{n}")
        mode = "enforce" if inside else otherwise
        assert (events[0]["mode"], events[0].get("arm")) == (mode, "new" if inside else "old")
        assert ("ActivationBegan" in kinds(events)) is (inside or otherwise == "shadow")


def test_a_row_outside_the_rollout_is_bit_identical_beside_one_within(tmp_path: Path) -> None:
    made = bench("llama")
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    options |= {"return_dict_in_generate": True, "output_logits": True}
    inputs = batch(PROMPTS)
    bare = made.model.generate(**inputs, **options)
    with wrap(made, tmp_path, binding=Binding(**HALF)) as guard:
        guards = [{"tenant": OUTSIDE[0]}, {"tenant": INSIDE[0]}, {"tenant": OUTSIDE[1]}]
        found = guard.generate(**inputs, guard=guards, **options)
    for row, same in enumerate([True, False, True]):
        equal = all(
            torch.equal(a[row].view(torch.int32), b[row].view(torch.int32))
            for a, b in zip(bare.logits, found.logits, strict=True)
        )
        assert equal is same


def test_the_same_tenant_is_always_in_the_same_arm(tmp_path: Path) -> None:
    made = bench("llama")
    guards: list[Mapping[str, Any]] = [{"tenant": tenant} for tenant in TENANTS]
    arms = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        with wrap(made, folder, binding=Binding(**HALF)) as guard:
            run(guard, PROMPTS[:1] * len(TENANTS), guard=guards, max_new_tokens=1)
        arms.append([told(folder, f"r{n}")[0]["arm"] for n in range(len(TENANTS))])
    assert arms[0] == arms[1]
    assert set(arms[0]) == {"new", "old"}


def test_the_binding_in_the_policys_own_file_counts_too(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY + "binding: {mode: shadow, rollout: {percent: 50, by: request.tenant, salt: s}}\n"
    with wrap(made, tmp_path, text) as guard:
        found = run(guard, guard=[{"tenant": INSIDE[0]}, {"tenant": OUTSIDE[0]}, {}])
    assert found == run(made.model)
    assert [told(tmp_path, f"r{n}")[0]["mode"] for n in range(3)] == ["shadow", "off", "off"]


def test_rows_that_one_request_is_expanded_into_are_all_in_its_arm(tmp_path: Path) -> None:
    made = bench("llama")
    torch.manual_seed(0)
    with wrap(made, tmp_path, binding=Binding(**HALF, otherwise="shadow")) as guard:
        guards = [{"tenant": INSIDE[0]}, {"tenant": OUTSIDE[0]}, {"tenant": OUTSIDE[1]}]
        run(guard, guard=guards, num_return_sequences=3, do_sample=True)
    for n, mode in enumerate(["enforce", "shadow", "shadow"]):
        assert {told(tmp_path, f"r{n}", sequence=s)[0]["mode"] for s in range(3)} == {mode}
