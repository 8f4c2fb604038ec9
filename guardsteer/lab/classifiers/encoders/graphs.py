"""ONNX graphs: written by torch, held against it, and quantised."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from guardsteer.classify.encoders.files import EXTERNAL_FILE, GRAPH_FILE
from guardsteer.errors import ClassifierError, Problem
from guardsteer.lab.classifiers.encoders.loading import Exported

__all__ = ["OPSET", "TOLERANCE", "difference", "open_graph", "quantise", "write_graph"]

OPSET: Final = 17
TOLERANCE: Final = 1e-4
"""How far a number of the graph may lie from torch's."""

# A protocol buffer holds less than 2 GiB.
LARGEST_BYTES: Final = 1_900_000_000

_INPUTS: Final = ("input_ids", "attention_mask")


def write_graph(
    module: Exported, folder: Path, *, vocabulary: int, largest_bytes: int = LARGEST_BYTES
) -> None:
    """Write ``model.onnx`` with any number of rows and tokens; tensors of over ``largest_bytes`` beside it.

    Needs the package onnx. Raises ``ClassifierError`` where the model has an operator that ONNX has not.
    """
    import onnx

    axes = {name: {0: "row", 1: "token"} for name in _INPUTS} | {"numbers": {0: "row"}}
    ids, mask = _random_tokens(2, 9, vocabulary, torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        path = Path(scratch) / GRAPH_FILE
        try:
            with torch.no_grad():
                torch.onnx.export(
                    module,
                    (ids, mask),
                    str(path),
                    # The newer exporter needs a further package and came to the same graphs.
                    dynamo=False,
                    input_names=list(_INPUTS),
                    output_names=["numbers"],
                    dynamic_axes=axes,
                    opset_version=OPSET,
                )
        except Exception as error:
            told = str(error).strip().splitlines()
            message = f"cannot be exported to ONNX: {type(error).__name__}: {told[0] if told else error!r}"
            raise ClassifierError([Problem(type(module.model).__name__, 0, 0, message)]) from error
        _save(onnx.load(str(path)), folder, largest_bytes)


def _save(graph: Any, folder: Path, largest_bytes: int) -> None:
    import onnx

    (folder / EXTERNAL_FILE).unlink(missing_ok=True)
    beside = graph.ByteSize() > largest_bytes
    onnx.save_model(
        graph,
        str(folder / GRAPH_FILE),
        save_as_external_data=beside,
        all_tensors_to_one_file=True,
        location=EXTERNAL_FILE if beside else None,
    )


def quantise(source: Path, folder: Path, *, largest_bytes: int = LARGEST_BYTES) -> None:
    """Write the graph ``source`` into ``folder`` with weights in int8, a scale for each channel.

    Activations are quantised as they come (dynamic quantisation), so no calibration data decides anything.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        path = Path(scratch) / GRAPH_FILE
        quantize_dynamic(
            str(source),
            str(path),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=(source.parent / EXTERNAL_FILE).is_file(),
        )
        _save(onnx.load(str(path)), folder, largest_bytes)


def open_graph(folder: Path) -> Any:
    """Return an onnxruntime session of a folder's graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    path = str(folder / GRAPH_FILE)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        message = f"cannot be loaded by onnxruntime: {error}"
        raise ClassifierError([Problem(path, 0, 0, message)]) from error


def difference(module: Exported, session: Any, *, vocabulary: int, longest: int, seed: int = 0) -> float:
    """Return the largest difference between a number of torch and of the graph, over random tokens.

    Rows of 1 to ``longest`` tokens, alone and padded in batches.
    """
    generator = torch.Generator().manual_seed(seed)
    largest = 0.0
    shapes = [(1, 1), (1, 3), (3, min(20, longest)), (2, min(61, longest)), (1, longest)]
    for rows, tokens in shapes:
        ids, mask = _random_tokens(rows, tokens, vocabulary, generator)
        try:
            with torch.no_grad():
                expected: NDArray[Any] = module(ids, mask).numpy()
        except Exception as error:
            raise ClassifierError(
                f"{type(module.model).__name__} fails at {tokens} tokens ({type(error).__name__}: {error}); "
                "say with --max-tokens how many it takes"
            ) from error
        largest = max(largest, float(np.max(np.abs(_run(session, ids, mask) - expected))))
    return largest


def _run(session: Any, ids: torch.Tensor, mask: torch.Tensor) -> NDArray[Any]:
    given = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    found: NDArray[Any] = session.run(None, {each.name: given[each.name] for each in session.get_inputs()})[0]
    return found


def _random_tokens(
    rows: int, tokens: int, vocabulary: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, vocabulary, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    if rows > 1:
        mask[-1, (tokens + 1) // 2 :] = 0
    return ids, mask


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep exporters' warnings to themselves: what they warn of is measured afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def numbers_of(session: Any, windows: Sequence[Sequence[int]]) -> NDArray[Any]:
    """Return the numbers [window, width] of token ids, special ones included, one window at a time."""
    found = []
    for window in windows:
        ids = torch.tensor([list(window)])
        found.append(_run(session, ids, torch.ones_like(ids))[0])
    return np.array(found)
