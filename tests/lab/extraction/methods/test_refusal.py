"""A planted refusal direction is found by what it does, and one that does nothing is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from guardsteer.errors import VectorError
from guardsteer.lab.extraction.importing import About
from guardsteer.lab.extraction.methods.refusal import RefusalScores, choose_refusal, refusal_score
from guardsteer.lab.extraction.refusal import judge_refusal, openings
from guardsteer.lab.pairs.prompts import Prompt, user_prompt
from tests.lab.chats import chat_model, chat_tokenizer
from tests.models import BLOCKS, WIDTH

ABOUT = About("refusal", "The answer refuses.", "Apache-2.0")
HARMFUL = [user_prompt(f"+ number {index} of them") for index in range(20)]
HARMLESS = [user_prompt(f"- number {index} of them") for index in range(20)]


def _scores(**changes: Any) -> RefusalScores:
    fields: dict[str, Any] = {"block": 2, "position": 0, "bypass": 0.0, "induce": 1.0, "divergence": 0.01}
    return RefusalScores(**{**fields, **changes})


def test_the_refusal_score_is_the_log_odds_of_refusing() -> None:
    shares = np.array([[0.1, 0.2], [0.5, 0.3], [1e-6, 1e-300]])
    np.testing.assert_allclose(
        refusal_score(np.log(shares)), np.log([0.3 / 0.7, 0.8 / 0.2, 1e-6 / (1.0 - 1e-6)])
    )
    assert np.isfinite(refusal_score(np.array([[0.0, -5000.0], [-5000.0, -5000.0]]))).all()


def test_the_choice_bypasses_best_among_those_that_induce_spare_and_are_not_too_deep() -> None:
    best = _scores(bypass=-1.0)
    others = [
        _scores(bypass=-9.0, induce=-0.1),
        _scores(bypass=-9.0, divergence=0.2),
        _scores(bypass=-9.0, block=8),
        _scores(bypass=-0.5),
    ]
    assert choose_refusal([*others, best], 10) is best
    told = r"none of 2 .* induces it at 1\.00 \(block 2.* by 0\.2 nats \(block 2; at most 0\.1, before"
    with pytest.raises(VectorError, match=told):
        choose_refusal(others[:2], 10)
    with pytest.raises(VectorError, match="no candidate"):
        choose_refusal([], 10)


def _refusing(tokenizer: Any) -> tuple[Any, torch.Tensor]:
    """Return a model that says R after a plus, by one direction, and else S; its blocks add nothing."""
    model = chat_model()
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.data.mul_(1e-3)
    ids = {sign: tokenizer(sign, add_special_tokens=False)["input_ids"][0] for sign in "+-RS"}
    planted = torch.zeros(WIDTH)
    planted[3] = 1.0
    with torch.no_grad():
        model.lm_head.weight[:] *= 0.01
        model.lm_head.weight[:, 3] = 0.0
        model.lm_head.weight[ids["R"], 3] = 2.0
        model.lm_head.weight[ids["S"], 5] = 2.0

    def plant(_module: Any, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        refused = (args[0] == ids["+"]).any(1).float()[:, None, None]
        changed = output.clone()
        changed[..., 3] = 0.0
        changed[..., 5] = 6.0
        planted_there: torch.Tensor = changed + 12.0 * refused * planted
        return planted_there

    model.get_input_embeddings().register_forward_hook(plant)
    return model, planted


def test_the_direction_that_makes_a_model_refuse_is_found() -> None:
    tokenizer = chat_tokenizer()
    model, planted = _refusing(tokenizer)
    told: list[tuple[int, int]] = []
    found = judge_refusal(
        model, tokenizer, HARMFUL, HARMLESS, ["R"], ABOUT, progress=lambda *done: told.append(done)
    )
    assert len(found.candidates) == 2 * BLOCKS
    assert told == [(done, 2 * BLOCKS) for done in range(1, 2 * BLOCKS + 1)]
    assert found.chosen is not None
    assert found.vector is not None
    assert found.chosen.bypass < 0 < found.chosen.induce
    assert found.chosen.divergence < 0.1
    assert found.vector.card.method == "refusal_direction"
    assert found.vector.blocks == tuple(range(BLOCKS))
    assert (found.vector.directions @ planted.numpy() > 0.99).all()
    assert all(not module._forward_pre_hooks for module in model.modules())


def test_the_whole_beginning_of_a_refusal_counts() -> None:
    tokenizer = chat_tokenizer()
    model, _ = _refusing(tokenizer)

    def bypassed(refusals: list[str]) -> float:
        found = judge_refusal(model, tokenizer, HARMFUL, HARMLESS, refusals, ABOUT, positions=1)
        return found.candidates[0].bypass

    # "Rx" needs a second token that the model hardly says, and beside "R" it adds nothing.
    assert bypassed(["Rx"]) < bypassed(["R"]) - 1.0
    assert bypassed(["R", "Rx"]) == pytest.approx(bypassed(["R"]))


def test_no_answer_counts_as_two_refusals() -> None:
    tokenizer = chat_tokenizer()
    r, x = tokenizer("Rx", add_special_tokens=False)["input_ids"]
    assert openings(tokenizer, ["Rx", "R", "xR", "R"]) == sorted([(r,), (x, r)], key=len)
    with pytest.raises(VectorError, match=r"none of .* has a token"):
        openings(tokenizer, [""])


def test_a_model_that_never_refuses_has_no_such_direction() -> None:
    tokenizer = chat_tokenizer()
    model = chat_model()
    found = judge_refusal(model, tokenizer, HARMFUL, HARMLESS, ["~"], ABOUT)
    assert found.vector is None
    assert found.chosen is None
    assert "is one of refusal" in found.why_not
    with pytest.raises(VectorError, match="got 3 harmful and 20 harmless"):
        judge_refusal(model, tokenizer, HARMFUL[:3], HARMLESS, ["R"], ABOUT)


def test_a_request_must_not_be_harmful_and_harmless() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    with pytest.raises(VectorError, match=r"1 requests are both harmful and harmless, such as '\+ number 0"):
        judge_refusal(model, tokenizer, HARMFUL, [*HARMLESS, HARMFUL[0]], ["R"], ABOUT)
    # The same last words under another system line are another request.
    told = Prompt("told", ({"role": "system", "content": "Be kind."}, *HARMFUL[0].messages))
    judge_refusal(model, tokenizer, HARMFUL, [*HARMLESS, told], ["R"], ABOUT, positions=1)
