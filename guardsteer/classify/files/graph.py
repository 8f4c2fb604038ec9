"""The linear model as a numeric ONNX graph: feature indices and values in, probabilities out.

Text stays outside the graph: ONNX has no ``char_wb`` and no hashing, and its string operators depend
on the machine's locale. The weights stay in ``weights.safetensors``, which the graph names as external data,
so they exist once on disk and once in memory. onnx and onnxruntime are loaded when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardsteer.classify.activation import Activation
from guardsteer.classify.files.artifact import tensor_offset
from guardsteer.errors import ClassifierError, Problem

__all__ = ["MODEL_FILE", "WEIGHTS_FILE", "Graph", "build_graph"]

MODEL_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = "weights.safetensors"

Row: TypeAlias = tuple[Sequence[int], Sequence[float]]

# Values of one batch are rows x features x outputs, padded to the longest row.
_MAX_BATCH_VALUES = 4_000_000
_MAX_BATCH_ROWS = 256

_TOLERANCE = 1e-5


def build_graph(*, weights: bytes, dtype: str, features: int, outputs: int, activation: Activation) -> bytes:
    """Return the ONNX model, which takes its weight and bias out of the file ``weights``.

    Inputs ``indices`` [row, term] int64 and ``values`` [row, term] float64, short rows padded with
    index 0 and value 0; output ``probabilities`` [row, output] float64. Needs the package onnx.
    """
    import onnx
    from onnx import TensorProto, helper

    def external(name: str, element: int, shape: list[int]) -> onnx.TensorProto:
        tensor = TensorProto(name=name, data_type=element, dims=shape, data_location=TensorProto.EXTERNAL)
        offset, length = tensor_offset(weights, name)
        for key, value in (("location", WEIGHTS_FILE), ("offset", offset), ("length", length)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        return tensor

    element = TensorProto.FLOAT if dtype == "float32" else TensorProto.DOUBLE
    nodes = [
        helper.make_node("Gather", ["weight", "indices"], ["gathered"], axis=0),
        helper.make_node("Cast", ["gathered"], ["rows"], to=TensorProto.DOUBLE),
        helper.make_node("Unsqueeze", ["values", "one"], ["row_values"]),
        helper.make_node("MatMul", ["row_values", "rows"], ["products"]),
        helper.make_node("Squeeze", ["products", "one"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["decisions"]),
        *_activation_nodes(activation),
    ]
    graph = helper.make_graph(
        nodes,
        "guardsteer_linear",
        [
            helper.make_tensor_value_info("indices", TensorProto.INT64, ["row", "term"]),
            helper.make_tensor_value_info("values", TensorProto.DOUBLE, ["row", "term"]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, ["row", outputs])],
        [
            external("weight", element, [features, outputs]),
            external("bias", TensorProto.DOUBLE, [outputs]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="guardsteer"
    )
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _activation_nodes(activation: Activation) -> list[Any]:
    from onnx import helper

    if activation == "softmax":
        return [helper.make_node("Softmax", ["decisions"], ["probabilities"], axis=1)]
    if activation == "sigmoid":
        return [helper.make_node("Sigmoid", ["decisions"], ["probabilities"])]
    return [
        helper.make_node("Sigmoid", ["decisions"], ["sigmoids"]),
        helper.make_node("ReduceSum", ["sigmoids", "one"], ["total"], keepdims=1),
        helper.make_node("Div", ["sigmoids", "total"], ["probabilities"]),
    ]


class Graph:
    """A graph at work. ``model``: bytes of the ONNX file at ``path``; ``weight`` [feature, output]."""

    __slots__ = ("_bias", "_model", "_path", "_session", "_weight")

    def __init__(self, path: Path, model: bytes, weight: NDArray[Any], bias: NDArray[np.float64]) -> None:
        self._path, self._model = path, model
        self._weight, self._bias = weight, bias
        self._session: Any = None

    def run(
        self, rows: Sequence[Row], check: Callable[[Sequence[int], Sequence[float]], Sequence[float]]
    ) -> NDArray[np.float64]:
        """Return the probabilities [row, output]. ``check`` scores a row without the graph.

        Raises ``ClassifierError`` where the graph cannot be run, or does not agree with ``check``.
        """
        outputs = int(self._weight.shape[1])
        result = np.empty((len(rows), outputs))
        order = sorted(range(len(rows)), key=lambda row: len(rows[row][0]))
        start = 0
        while start < len(order):
            # Rows come shortest first: the last one of a batch decides how far the others are padded.
            stop = start + 1
            while stop < len(order) and stop - start < _MAX_BATCH_ROWS:
                if (stop - start + 1) * len(rows[order[stop]][0]) * outputs > _MAX_BATCH_VALUES:
                    break
                stop += 1
            batch = order[start:stop]
            result[batch] = self._run_batch([rows[row] for row in batch])
            start = stop
        if order:
            self._compare(result[order[-1]], check(*rows[order[-1]]))
        return result

    def _run_batch(self, rows: list[Row]) -> NDArray[np.float64]:
        terms = max(1, *(len(indices) for indices, _ in rows))
        indices = np.zeros((len(rows), terms), dtype=np.int64)
        values = np.zeros((len(rows), terms))
        for row, (row_indices, row_values) in enumerate(rows):
            indices[row, : len(row_indices)] = row_indices
            values[row, : len(row_values)] = row_values
        if self._session is None:
            self._session = self._open()
        try:
            probabilities: NDArray[np.float64] = self._session.run(
                ["probabilities"], {"indices": indices, "values": values}
            )[0]
        except Exception as error:
            raise self._error(f"cannot be run by onnxruntime: {error}") from error
        if probabilities.shape != (len(rows), self._weight.shape[1]):
            raise self._error(f"gave the shape {list(probabilities.shape)} for {len(rows)} rows")
        return probabilities

    def _open(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        tensors = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in (self._weight, self._bias)]
        try:
            options.add_external_initializers(["weight", "bias"], tensors)
            return onnxruntime.InferenceSession(
                self._model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:
            raise self._error(f"cannot be loaded by onnxruntime: {error}") from error

    def _compare(self, found: NDArray[np.float64], expected: Sequence[float]) -> None:
        distance = float(np.max(np.abs(found - np.asarray(expected))))
        if not distance <= _TOLERANCE:
            raise self._error(
                f"does not compute what the table of weights says (probabilities {distance:g} apart); "
                "restore the whole folder or train the classifier again"
            )

    def _error(self, message: str) -> ClassifierError:
        return ClassifierError([Problem(str(self._path), 0, 0, message)])
