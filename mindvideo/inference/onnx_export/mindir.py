"""A MindIR file as a list of operators with their inputs, constants and shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.errors import UserError

# Numbers of element types in MindIR, which are those of ONNX.
ELEMENT_TYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}
_NAME_OF_REFERENCE = "REF::"


@dataclasses.dataclass(frozen=True)
class Value:
    """Shape and element type of a tensor in the graph."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Operator:
    """One call. ``output``: its Value, or a list of them where it gives several; None: nothing that is used."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    settings: dict[str, Any]
    output: Value | list[Value] | None


@dataclasses.dataclass(frozen=True)
class Graph:
    """``constants``: numbers, tuples and arrays by name; ``weights``: arrays by the names they have in the network."""

    inputs: dict[str, Value]
    operators: tuple[Operator, ...]
    constants: dict[str, Any]
    weights: dict[str, np.ndarray]
    weight_names: dict[str, str]  # name in the graph -> name in ``weights``
    result: str


def read_mindir(path: Path) -> Graph:
    """The graph of one file that ``mindspore.export`` wrote."""
    from mindspore.train import mind_ir_pb2  # protocol buffers of MindSpore's own

    if path.with_name(f"{path.stem}_graph{path.suffix}").is_file():
        raise UserError(f"{path}: models of more than 1 GB cannot be written as ONNX")
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString(path.read_bytes())
    if model.functions:
        names = ", ".join(function.name.rsplit("_", 1)[0] for function in model.functions[:3])
        raise UserError(f"the graph has loops or branches ({names}), which are not written as ONNX")
    type_name = mind_ir_pb2.AttributeProto.AttributeType.Name
    primitives = {primitive.name: primitive for primitive in model.primitives}
    graph = model.graph
    constants: dict[str, Any] = {}
    operators = []
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _plain(node.attribute[0], type_name)
            continue
        primitive = primitives[node.op_type.removeprefix(_NAME_OF_REFERENCE)]
        outputs = [each for each in node.attribute if each.name == "shape"]
        operators.append(
            Operator(
                kind=primitive.op_type,
                name=node.output[0],
                inputs=tuple(node.input),
                settings={each.name: _plain(each, type_name) for each in primitive.attribute},
                output=_shapes(outputs[0], type_name) if outputs else None,
            )
        )
    weights, weight_names = {}, {}
    for parameter in graph.parameter:
        short = parameter.name.rsplit(":", 1)[-1]
        weight_names[parameter.name] = short
        weights[short] = _array(parameter)
    return Graph(
        inputs={each.name: _value(each.tensor[0]) for each in graph.input},
        operators=tuple(operators),
        constants=constants,
        weights=weights,
        weight_names=weight_names,
        result=graph.output[0].name,
    )


def _value(tensor: Any) -> Value:
    return Value(tuple(tensor.dims), np.dtype(ELEMENT_TYPES[tensor.data_type]))


def _array(tensor: Any) -> np.ndarray:
    value = _value(tensor)
    return np.frombuffer(tensor.raw_data, value.dtype).reshape(value.shape)


def _shapes(attribute: Any, type_name: Any) -> Value | list[Value] | None:
    kind = type_name(attribute.type)
    if kind == "TENSORS":
        return _value(attribute.tensors[0])
    if kind in ("TUPLE", "LIST"):
        parts = [_shapes(each, type_name) for each in attribute.values]
        return [part for part in parts if isinstance(part, Value)]
    return None


def _plain(attribute: Any, type_name: Any) -> Any:
    """A constant as a Python number, string, tuple or array; None for what carries no value."""
    kind = type_name(attribute.type)
    if kind == "TENSORS":
        return _array(attribute.tensors[0])
    if kind in ("TUPLE", "LIST"):
        return tuple(_plain(each, type_name) for each in attribute.values)
    if kind == "STRING":
        return _only(attribute.strings, attribute.s).decode()
    if kind in ("FLOAT", "FLOAT16", "BFLOAT16"):
        return float(_only(attribute.floats, attribute.f))
    if kind == "DOUBLE":
        return float(_only(attribute.doubles, attribute.d))
    if kind == "BOOL":
        return bool(_only(attribute.ints, attribute.i))
    if kind.startswith(("INT", "UINT")):
        return int(_only(attribute.ints, attribute.i))
    return None


def _only(listed: Sequence[Any], otherwise: Any) -> Any:
    """Inside a tuple numbers stand in a list of one."""
    found = listed[0] if len(listed) else otherwise
    return found.encode() if isinstance(found, str) else found
