"""FLOPs of an exported graph: its convolutions and matrix products, two for a multiply-add, by the shapes in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mindspore.train import mind_ir_pb2

PRODUCTS = frozenset({"MatMul", "BatchMatMul", "MatMulExt", "BatchMatMulExt", "Dense"})
CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "Conv2DExt", "DepthwiseConv2dNative"})
TRANSPOSED = frozenset({"Conv2DBackpropInput", "Conv2DTranspose", "Conv3DTranspose", "Conv3DBackpropInput"})
_GRAPH_NAME = "_graph"  # MindSpore splits a large model into its graph and its weights
Shapes = dict[str, tuple[int, ...]]


def graph_flops(mindir: Path) -> int | None:
    """None for a graph that is more than one straight way, whose loops would have to be counted as they run."""
    split = mindir.with_name(f"{mindir.stem}{_GRAPH_NAME}{mindir.suffix}")
    model: Any = mind_ir_pb2.ModelProto()
    model.ParseFromString((split if split.is_file() else mindir).read_bytes())
    if model.functions:
        return None
    shapes = _shapes(model.graph)
    return sum(node_flops(node, shapes) for node in model.graph.node)


def node_flops(node: Any, shapes: Shapes) -> int:
    """FLOPs of one node; 0 for what is neither a convolution nor a matrix product."""
    kind = node.op_type.split("::")[-1].split(":")[0]
    if kind not in PRODUCTS | CONVOLUTIONS | TRANSPOSED:
        return 0
    out, first, second = shapes[node.output[0]], shapes[node.input[0]], shapes[node.input[1]]
    if kind in PRODUCTS:
        # Each number of the result is a sum over the inner length, which is what the first operand has beside its rows.
        rows = math.prod(out) // out[-1]
        return 2 * math.prod(out) * (math.prod(first) // rows) if rows else 0
    per_position = math.prod(second) // second[0]  # multiply-adds for one number
    if kind in CONVOLUTIONS:
        return 2 * math.prod(out) * per_position
    return 2 * math.prod(first) * per_position  # the operands of a transposed one: map, then weights [in, out, ...]


def _shapes(graph: Any) -> Shapes:
    found: Shapes = {}
    for parameter in graph.parameter:
        found[parameter.name] = tuple(parameter.dims)
    for given in graph.input:
        if given.tensor:
            found[given.name] = tuple(given.tensor[0].dims)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.tensors and attribute.name in ("shape", "value"):
                found[node.output[0]] = tuple(attribute.tensors[0].dims)
    return found
