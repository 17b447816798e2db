"""A MindIR graph as an ONNX file, and that file as something to call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from mindvideo.errors import UserError
from mindvideo.inference.onnx_export.mindir import Graph, read_mindir
from mindvideo.inference.onnx_export.operators import RULES, SKIPPED, write_operator
from mindvideo.inference.onnx_export.writer import OPSET, Writer

IR_VERSION = 8  # that came with the operator set, so that older runtimes read the file


def onnx_model(graph: Graph, *, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """``inputs`` and ``outputs``: names, in the graph's order. UserError names operators that cannot be written."""
    missing = sorted({each.kind for each in graph.operators} - set(RULES) - SKIPPED)
    if missing:
        native = " (native operators are left out with MINDVIDEO_OPS=reference)" if "Custom" in missing else ""
        raise UserError(f"operators without a counterpart in ONNX here: {', '.join(missing)}{native}; no file is kept")
    writer = Writer(graph, inputs=inputs, taken=outputs)
    for operator in graph.operators:
        write_operator(writer, operator)
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(inputs, graph.inputs.values())
    ]
    results = writer.tensors(graph.result)
    if len(results) != len(outputs) or len(given) != len(inputs):
        raise ValueError(f"the graph has {len(given)} inputs and {len(results)} outputs")
    named = []
    for tensor, name in zip(results, outputs):
        value = writer.value(tensor)
        writer.nodes.append(helper.make_node("Identity", [tensor], [name]))
        named.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
    used = {each for node in writer.nodes for each in node.input}
    weights = [weight for weight in writer.weights if weight.name in used]
    made = helper.make_graph(writer.nodes, "mindvideo", given, named, weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mindvideo")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def write_onnx(mindir: Path, path: Path, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """The graph of a MindIR file as an ONNX file at ``path``."""
    model = onnx_model(read_mindir(mindir), inputs=inputs, outputs=outputs)
    onnx.save(model, str(path))


class OnnxGraph:
    """A file in onnxruntime on the CPU: arrays in the order of its inputs give arrays in that of its outputs."""

    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_inputs()]

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, dict(zip(self._names, arrays)))
