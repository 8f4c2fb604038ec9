"""A planted refusal direction is found by what it does, and one that does nothing is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from guardsteer.errors import VectorError
from guardsteer.lab.importing import About
from guardsteer.lab.methods.refusal import RefusalScores, choose_refusal, refusal_score
from guardsteer.lab.refusal import find_refusal
from tests.lab.chats import chat_model, chat_tokenizer
from tests.models import BLOCKS, WIDTH

ABOUT = About("refusal", "The answer refuses.", "Apache-2.0")
HARMFUL = [f"+ number {index} of them" for index in range(20)]
HARMLESS = [f"- number {index} of them" for index in range(20)]


def _scores(**changes: Any) -> RefusalScores:
    fields: dict[str, Any] = {"block": 2, "position": 0, "bypass": 0.0, "induce": 1.0, "divergence": 0.01}
    return RefusalScores(**{**fields, **changes})


def test_the_refusal_score_is_the_log_odds_of_refusing() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])) + 1000.0
    np.testing.assert_allclose(refusal_score(logits, [0, 1]), np.log([0.3 / 0.7, 0.8 / 0.2]))
    assert np.isfinite(refusal_score(np.array([[0.0, 5000.0]]), [0])).all()


def test_the_choice_bypasses_best_among_those_that_induce_spare_and_are_not_too_deep() -> None:
    best = _scores(bypass=-1.0)
    others = [
        _scores(bypass=-9.0, induce=-0.1),
        _scores(bypass=-9.0, divergence=0.2),
        _scores(bypass=-9.0, block=8),
        _scores(bypass=-0.5),
    ]
    assert choose_refusal([*others, best], 10) is best
    with pytest.raises(VectorError, match="none of 2 directions is one of refusal"):
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
    found = find_refusal(model, tokenizer, HARMFUL, HARMLESS, ["R"], ABOUT)
    assert len(found.candidates) == 2 * BLOCKS
    assert found.chosen.bypass < 0 < found.chosen.induce
    assert found.chosen.divergence < 0.1
    assert found.vector.card.method == "refusal_direction"
    assert found.vector.blocks == tuple(range(BLOCKS))
    assert (found.vector.directions @ planted.numpy() > 0.99).all()
    assert all(not module._forward_pre_hooks for module in model.modules())


def test_a_model_that_never_refuses_has_no_such_direction() -> None:
    tokenizer = chat_tokenizer()
    model = chat_model()
    with pytest.raises(VectorError, match="is one of refusal"):
        find_refusal(model, tokenizer, HARMFUL, HARMLESS, ["~"], ABOUT)
    with pytest.raises(VectorError, match="got 3 harmful and 20 harmless"):
        find_refusal(model, tokenizer, HARMFUL[:3], HARMLESS, ["R"], ABOUT)
