"""States of sequences are those of each sequence alone, whatever shares its pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from guardsteer.errors import ClassifierError
from guardsteer.lab.capture.sequences import states_of
from tests.models import WIDTH, tiny

SEQUENCES = [[5, 6, 7, 8, 9, 10], [40], [11, 12, 13], [5, 6, 7, 8, 9, 99]]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_each_sequence_has_the_states_that_it_has_alone(architecture: str) -> None:
    model = tiny(architecture)
    found = states_of(model, SEQUENCES, [0, 2], batch_size=3)
    assert sorted(found) == [0, 2]
    with torch.no_grad():
        for place, tokens in enumerate(SEQUENCES):
            output = model(torch.tensor([tokens]), output_hidden_states=True)
            for block in (0, 2):
                assert found[block][place].shape == (len(tokens), WIDTH)
                alone = output.hidden_states[block + 1][0].numpy()
                np.testing.assert_allclose(found[block][place], alone, atol=2e-5)


def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(ClassifierError, match="block: got 9, the model has blocks 0 to 3"):
        states_of(tiny("llama"), SEQUENCES, [9])
