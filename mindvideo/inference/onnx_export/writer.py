"""ONNX nodes from the operators of a graph, whose shapes are all known."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mindvideo.errors import UserError
from mindvideo.inference.onnx_export.mindir import Graph, Operator, Value

OPSET = 17


class Writer:
    """The nodes written so far. A name of the graph stands for one tensor of ONNX, or for a list of them (a tuple).

    ``inputs``: what its inputs are to be called, in their order; ``taken``: names that no weight may have.
    """

    def __init__(self, graph: Graph, *, inputs: Sequence[str], taken: Collection[str] = ()) -> None:
        self._graph = graph
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._tensors: dict[str, str | list[str]] = {}
        self._values: dict[str, Value] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._number = 0
        taken = {*inputs, *taken}
        for (name, value), given in zip(graph.inputs.items(), inputs):
            self.bind(name, given, value)
        for name, short in graph.weight_names.items():
            weight = graph.weights[short]
            while short in taken:  # a query of the network, and one that is handed on from frame to frame
                short += "_"
            self.weights.append(numpy_helper.from_array(weight, short))
            self.bind(name, short, Value(weight.shape, weight.dtype))

    def bind(self, name: str, tensor: str, value: Value) -> None:
        """``name`` of the graph is this tensor."""
        self._tensors[name] = tensor
        self._values[tensor] = value

    def bind_all(self, name: str, tensors: Sequence[str]) -> None:
        """``name`` of the graph is a tuple of these tensors."""
        self._tensors[name] = list(tensors)

    def tensor(self, name: str) -> str:
        """The tensor that ``name`` of the graph stands for, also where it is a constant."""
        if name in self._graph.constants:
            return self.constant(np.asarray(self._graph.constants[name]))
        found = self._tensors[name]
        if isinstance(found, list):
            raise UserError(f"{name.rsplit(':', 1)[-1]}: a tuple stands where ONNX takes a tensor")
        return found

    def tensors(self, name: str) -> list[str]:
        found = self._tensors[name]
        return found if isinstance(found, list) else [found]

    def literal(self, operator: Operator, place: int) -> Any:
        """The constant that is an input; UserError where it is computed."""
        name = operator.inputs[place]
        if name not in self._graph.constants:
            raise UserError(f"{operator.kind}: its input {place} is computed, which ONNX is not written for")
        return self._graph.constants[name]

    def value(self, tensor: str) -> Value:
        return self._values[tensor]

    def constant(self, array: np.ndarray) -> str:
        """A tensor of these numbers; the same ones are kept once."""
        array = np.ascontiguousarray(array) if array.ndim else array
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self.weights.append(numpy_helper.from_array(array, name))
            self._values[name] = Value(array.shape, array.dtype)
            self._constants[key] = name
        return self._constants[key]

    def whole(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def add(self, kind: str, inputs: Sequence[str], value: Value, **settings: Any) -> str:
        """A node with one output of this shape and type."""
        return self.add_all(kind, inputs, [value], **settings)[0]

    def add_all(self, kind: str, inputs: Sequence[str], values: Sequence[Value], **settings: Any) -> list[str]:
        self._number += 1
        outputs = [f"{kind}_{self._number}" + (f"_{place}" if len(values) > 1 else "") for place in range(len(values))]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=f"{kind}_{self._number}", **settings))
        self._values.update(zip(outputs, values))
        return outputs

    def reshape(self, tensor: str, shape: Sequence[int]) -> str:
        value = self.value(tensor)
        if value.shape == tuple(shape):
            return tensor
        if math.prod(shape) != value.size:
            raise ValueError(f"{tensor}: {value.shape} cannot become {tuple(shape)}")
        return self.add("Reshape", [tensor, self.whole(*shape)], Value(tuple(shape), value.dtype))

    def cast(self, tensor: str, dtype: np.dtype | type) -> str:
        dtype = np.dtype(dtype)
        value = self.value(tensor)
        if value.dtype == dtype:
            return tensor
        to = helper.np_dtype_to_tensor_dtype(dtype)
        return self.add("Cast", [tensor], Value(value.shape, dtype), to=to)

    def transpose(self, tensor: str, order: Sequence[int]) -> str:
        value = self.value(tensor)
        shape = tuple(value.shape[axis] for axis in order)
        return self.add("Transpose", [tensor], Value(shape, value.dtype), perm=list(order))
