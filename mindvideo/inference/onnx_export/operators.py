"""MindSpore's operators in ONNX's: one small function each, in a table to which a row can be added."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mindvideo.errors import UserError
from mindvideo.inference.onnx_export.mindir import Operator, Value
from mindvideo.inference.onnx_export.writer import Writer

Rule = Callable[[Writer, Operator], None]
_TO_THE_END = np.iinfo(np.int64).max
SKIPPED = {"UpdateState"}  # the order of effects, of which there are none


def write_operator(writer: Writer, operator: Operator) -> None:
    """Add the nodes of one operator. UserError for one that has no rule."""
    if operator.kind in SKIPPED:
        return
    rule = RULES.get(operator.kind)
    if rule is None:
        raise UserError(
            f"the operator {operator.kind} has no counterpart in ONNX here "
            "(mindvideo/inference/onnx_export/operators.py lists those that have one)"
        )
    rule(writer, operator)


def _set(writer: Writer, operator: Operator, tensor: str) -> None:
    """The result, with the shape and the type that MindSpore gave it."""
    assert isinstance(operator.output, Value)
    tensor = writer.reshape(writer.cast(tensor, operator.output.dtype), operator.output.shape)
    writer.bind(operator.name, tensor, operator.output)


def _same(writer: Writer, operator: Operator) -> None:
    name = operator.inputs[0]
    if isinstance(operator.output, Value):
        _set(writer, operator, writer.tensor(name))
    else:
        writer.bind_all(operator.name, writer.tensors(name))


def _tuple(writer: Writer, operator: Operator) -> None:
    writer.bind_all(operator.name, [writer.tensor(name) for name in operator.inputs])


def _item(writer: Writer, operator: Operator) -> None:
    _set(writer, operator, writer.tensors(operator.inputs[0])[writer.literal(operator, 1)])


def _unary(kind: str) -> Rule:
    def rule(writer: Writer, operator: Operator) -> None:
        tensor = writer.tensor(operator.inputs[0])
        _set(writer, operator, writer.add(kind, [tensor], writer.value(tensor)))

    return rule


def _binary(kind: str, *, gives: type | None = None) -> Rule:
    """``gives``: the type of the result where it is not that of the inputs, which get a common one first."""

    def rule(writer: Writer, operator: Operator) -> None:
        pair = [writer.tensor(name) for name in operator.inputs[:2]]
        dtype = _common_type(writer, operator, pair)
        pair = [writer.cast(each, dtype) for each in pair]
        assert isinstance(operator.output, Value)
        _set(writer, operator, writer.add(kind, pair, Value(operator.output.shape, np.dtype(gives or dtype))))

    return rule


def _common_type(writer: Writer, operator: Operator, pair: list[str]) -> np.dtype:
    """A bare number takes the type of the tensor beside it, as long as it is of its kind."""
    values = [writer.value(each) for each in pair]
    scalars = [each.shape == () for each in values]
    if scalars[0] != scalars[1]:
        tensor, scalar = values if scalars[1] else values[::-1]
        if np.issubdtype(tensor.dtype, np.floating) or np.issubdtype(scalar.dtype, np.integer):
            return tensor.dtype
    return np.promote_types(values[0].dtype, values[1].dtype)


def _rsqrt(writer: Writer, operator: Operator) -> None:
    tensor = writer.tensor(operator.inputs[0])
    value = writer.value(tensor)
    _set(writer, operator, writer.add("Reciprocal", [writer.add("Sqrt", [tensor], value)], value))


def _clamp(writer: Writer, operator: Operator) -> None:
    tensor = writer.tensor(operator.inputs[0])
    value = writer.value(tensor)
    for place, kind in ((1, "Max"), (2, "Min")):
        limit = writer.literal(operator, place)
        if limit is not None:
            tensor = writer.add(kind, [tensor, writer.constant(np.array(limit, value.dtype))], value)
    _set(writer, operator, tensor)


def _select(writer: Writer, operator: Operator) -> None:
    condition, yes, no = (writer.tensor(name) for name in operator.inputs)
    assert isinstance(operator.output, Value)
    yes, no = (writer.cast(each, operator.output.dtype) for each in (yes, no))
    _set(writer, operator, writer.add("Where", [condition, yes, no], operator.output))


def _masked_fill(writer: Writer, operator: Operator) -> None:
    tensor, mask, filling = (writer.tensor(name) for name in operator.inputs)
    assert isinstance(operator.output, Value)
    filling = writer.cast(filling, operator.output.dtype)
    _set(writer, operator, writer.add("Where", [mask, filling, tensor], operator.output))


def _broadcast(writer: Writer, operator: Operator) -> None:
    assert isinstance(operator.output, Value)
    tensor = writer.tensor(operator.inputs[0])
    value = Value(operator.output.shape, writer.value(tensor).dtype)
    _set(writer, operator, writer.add("Expand", [tensor, writer.whole(*value.shape)], value))


def _transpose(writer: Writer, operator: Operator) -> None:
    tensor = writer.tensor(operator.inputs[0])
    rank = len(writer.value(tensor).shape)
    _set(writer, operator, writer.transpose(tensor, [axis % rank for axis in writer.literal(operator, 1)]))


def _strided_slice(writer: Writer, operator: Operator) -> None:
    begins, ends, steps = (writer.literal(operator, place) for place in (1, 2, 3))
    begin_mask, end_mask, ellipsis, new_axis, shrink = (writer.literal(operator, place) for place in range(4, 9))
    if ellipsis or new_axis:
        raise UserError("StridedSlice: ellipsis and new axes in its masks are not written as ONNX")
    parts = []
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps)):
        bit = 1 << axis
        if shrink & bit:
            parts.append((axis, begin, begin + 1 if begin != -1 else _TO_THE_END, 1))
            continue
        begin = (0 if step > 0 else _TO_THE_END) if begin_mask & bit else begin
        end = (_TO_THE_END if step > 0 else -_TO_THE_END) if end_mask & bit else end
        parts.append((axis, begin, end, step))
    _slice_parts(writer, operator, parts)


def _slice(writer: Writer, operator: Operator) -> None:
    begins, sizes = writer.literal(operator, 1), writer.literal(operator, 2)
    _slice_parts(
        writer,
        operator,
        [
            (axis, begin, _TO_THE_END if size == -1 else begin + size, 1)
            for axis, (begin, size) in enumerate(zip(begins, sizes))
        ],
    )


def _slice_parts(writer: Writer, operator: Operator, parts: list[tuple[int, int, int, int]]) -> None:
    tensor = writer.tensor(operator.inputs[0])
    value = writer.value(tensor)
    shape = list(value.shape)
    for axis, begin, end, step in parts:
        shape[axis] = len(range(*slice(begin, None if end == -_TO_THE_END else end, step).indices(shape[axis])))
    axes, begins, ends, steps = zip(*parts)
    given = [tensor, *(writer.whole(*numbers) for numbers in (begins, ends, axes, steps))]
    _set(writer, operator, writer.add("Slice", given, Value(tuple(shape), value.dtype)))


def _gather(writer: Writer, operator: Operator) -> None:
    if len(operator.inputs) > 3 and writer.literal(operator, 3):
        raise UserError("Gather: batch dimensions are not written as ONNX")
    tensor, places = writer.tensor(operator.inputs[0]), writer.tensor(operator.inputs[1])
    value, axis = writer.value(tensor), int(writer.literal(operator, 2))
    axis %= len(value.shape)
    shape = (*value.shape[:axis], *writer.value(places).shape, *value.shape[axis + 1 :])
    _set(writer, operator, writer.add("Gather", [tensor, places], Value(shape, value.dtype), axis=axis))


def _conv(writer: Writer, operator: Operator) -> None:
    settings = operator.settings
    top, bottom, left, right = settings["pad_list"]
    assert isinstance(operator.output, Value)
    tensor = writer.add(
        "Conv",
        [writer.tensor(name) for name in operator.inputs[:2]],
        operator.output,
        pads=[top, left, bottom, right],
        strides=list(settings["stride"][-2:]),
        dilations=list(settings["dilation"][-2:]),
        group=settings["group"],
    )
    _set(writer, operator, tensor)


def _bias(writer: Writer, operator: Operator) -> None:
    tensor, bias = (writer.tensor(name) for name in operator.inputs[:2])
    value = writer.value(tensor)
    shape = [-1 if axis == 1 else 1 for axis in range(1, len(value.shape))]
    shape[0] = writer.value(bias).shape[0]
    _set(writer, operator, writer.add("Add", [tensor, writer.reshape(bias, shape)], value))


def _matmul(writer: Writer, operator: Operator) -> None:
    pair = [writer.tensor(name) for name in operator.inputs[:2]]
    for place in range(2):
        if len(operator.inputs) > 2 and writer.literal(operator, 2 + place):
            rank = len(writer.value(pair[place]).shape)
            pair[place] = writer.transpose(pair[place], [*range(rank - 2), rank - 1, rank - 2])
    assert isinstance(operator.output, Value)
    _set(writer, operator, writer.add("MatMul", pair, operator.output))


def _reduce(kind: str) -> Rule:
    def rule(writer: Writer, operator: Operator) -> None:
        assert isinstance(operator.output, Value)
        tensor = writer.cast(writer.tensor(operator.inputs[0]), operator.output.dtype)
        value = writer.value(tensor)
        axes = writer.literal(operator, 1)
        axes = (axes,) if isinstance(axes, int) else axes or tuple(range(len(value.shape)))
        axes = tuple(axis % len(value.shape) for axis in axes)
        kept = Value(tuple(1 if axis in axes else side for axis, side in enumerate(value.shape)), value.dtype)
        if kind == "ReduceSum":  # the only one that takes its axes as an input in this version of ONNX
            _set(writer, operator, writer.add(kind, [tensor, writer.whole(*axes)], kept, keepdims=1))
        else:
            _set(writer, operator, writer.add(kind, [tensor], kept, axes=list(axes), keepdims=1))

    return rule


def _softmax(writer: Writer, operator: Operator) -> None:
    tensor = writer.tensor(operator.inputs[0])
    axes = writer.literal(operator, 1)
    axis = axes if isinstance(axes, int) else axes[0]
    _set(writer, operator, writer.add("Softmax", [tensor], writer.value(tensor), axis=axis))


def _cumsum(writer: Writer, operator: Operator) -> None:
    tensor = writer.tensor(operator.inputs[0])
    axis = writer.constant(np.array(writer.literal(operator, 1), np.int64))
    exclusive, reverse = (int(writer.literal(operator, place)) for place in (2, 3))
    value = writer.value(tensor)
    _set(writer, operator, writer.add("CumSum", [tensor, axis], value, exclusive=exclusive, reverse=reverse))


def _concat(writer: Writer, operator: Operator) -> None:
    assert isinstance(operator.output, Value)
    tensors = [writer.cast(each, operator.output.dtype) for each in writer.tensors(operator.inputs[0])]
    axis = writer.literal(operator, 1) % len(operator.output.shape)
    _set(writer, operator, writer.add("Concat", tensors, operator.output, axis=axis))


def _stack(writer: Writer, operator: Operator) -> None:
    assert isinstance(operator.output, Value)
    value = operator.output
    axis = operator.settings["axis"] % len(value.shape)
    one = (*value.shape[:axis], 1, *value.shape[axis + 1 :])
    tensors = [writer.reshape(writer.cast(each, value.dtype), one) for each in writer.tensors(operator.inputs[0])]
    _set(writer, operator, writer.add("Concat", tensors, value, axis=axis))


def _parts(writer: Writer, operator: Operator, axis: int) -> None:
    """Equal parts along an axis; ``Unstack`` gives them without it."""
    assert isinstance(operator.output, list)
    tensor = writer.tensor(operator.inputs[0])
    value = writer.value(tensor)
    axis %= len(value.shape)
    count = len(operator.output)
    part = Value((*value.shape[:axis], value.shape[axis] // count, *value.shape[axis + 1 :]), value.dtype)
    parts = [tensor] if count == 1 else writer.add_all("Split", [tensor], [part] * count, axis=axis)
    writer.bind_all(operator.name, [writer.reshape(each, own.shape) for each, own in zip(parts, operator.output)])


def _split(writer: Writer, operator: Operator) -> None:
    _parts(writer, operator, writer.literal(operator, 1))


def _unstack(writer: Writer, operator: Operator) -> None:
    _parts(writer, operator, operator.settings["axis"])


def _nearest(writer: Writer, operator: Operator) -> None:
    if any(writer.literal(operator, place) for place in (2, 3)):
        raise UserError("ResizeNearestNeighborV2: aligned corners and half pixels are not written as ONNX")
    assert isinstance(operator.output, Value)
    settings = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    given = [writer.tensor(operator.inputs[0]), "", "", writer.whole(*operator.output.shape)]
    _set(writer, operator, writer.add("Resize", given, operator.output, **settings))


def _pad(writer: Writer, operator: Operator) -> None:
    """Pairs of a beginning and an end, the last axis first."""
    if operator.settings["mode"] != "constant" or not operator.settings["paddings_contiguous"]:
        raise UserError("PadV3: only a constant around the frames is written as ONNX")
    tensor = writer.tensor(operator.inputs[0])
    assert isinstance(operator.output, Value)
    rank = len(operator.output.shape)
    pairs = [int(number) for number in writer.literal(operator, 1)]
    pairs += [0] * (2 * rank - len(pairs))
    begins, ends = pairs[0::2][::-1], pairs[1::2][::-1]
    filling = writer.cast(writer.tensor(operator.inputs[2]), operator.output.dtype)
    given = [tensor, writer.whole(*begins, *ends), writer.reshape(filling, ())]
    _set(writer, operator, writer.add("Pad", given, operator.output))


def _top_k(writer: Writer, operator: Operator) -> None:
    assert isinstance(operator.output, list)
    values, places = operator.output
    tensor = writer.tensor(operator.inputs[0])
    found = writer.add_all(
        "TopK",
        [tensor, writer.whole(int(writer.literal(operator, 1)))],
        [values, Value(places.shape, np.dtype(np.int64))],
        sorted=int(operator.settings["sorted"]),
    )
    writer.bind_all(operator.name, [found[0], writer.cast(found[1], places.dtype)])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Load", "Depend", "Reshape", "ExpandDims", "Squeeze", "Cast", "Identity"), _same),
    **dict.fromkeys(("MakeTuple", "make_list", "MakeList"), _tuple),
    "TupleGetItem": _item,
    **{each: _unary(each) for each in ("Floor", "Sin", "Cos", "Sigmoid", "Log", "Neg", "Exp", "Sqrt", "Tanh", "Erf")},
    **{"ReLU": _unary("Relu"), "LogicalNot": _unary("Not"), "Abs": _unary("Abs"), "Rsqrt": _rsqrt},
    **{each: _binary(each) for each in ("Add", "Sub", "Mul", "Div")},
    **{"Muls": _binary("Mul"), "Divs": _binary("Div"), "Adds": _binary("Add"), "Subs": _binary("Sub")},
    **{"RealDiv": _binary("Div"), "Maximum": _binary("Max"), "Minimum": _binary("Min"), "Pow": _binary("Pow")},
    **{each: _binary(each, gives=np.bool_) for each in ("Less", "Greater", "Equal")},
    **{"LessEqual": _binary("LessOrEqual", gives=np.bool_), "GreaterEqual": _binary("GreaterOrEqual", gives=np.bool_)},
    "EqScalar": _binary("Equal", gives=np.bool_),
    **{"LessScalar": _binary("Less", gives=np.bool_), "LogicalAnd": _binary("And", gives=np.bool_)},
    "LogicalOr": _binary("Or", gives=np.bool_),
    "ClampScalar": _clamp,
    "MaskedFill": _masked_fill,
    "Select": _select,
    "BroadcastTo": _broadcast,
    "Transpose": _transpose,
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Gather": _gather,
    "Conv2D": _conv,
    "BiasAdd": _bias,
    **dict.fromkeys(("MatMul", "BatchMatMul", "MatMulExt", "BatchMatMulExt"), _matmul),
    **{"ReduceMean": _reduce("ReduceMean"), "ReduceMax": _reduce("ReduceMax"), "ReduceMin": _reduce("ReduceMin")},
    **{"SumExt": _reduce("ReduceSum"), "ReduceSum": _reduce("ReduceSum")},
    "Softmax": _softmax,
    "CumSum": _cumsum,
    "Concat": _concat,
    "Stack": _stack,
    "Split": _split,
    "Unstack": _unstack,
    "ResizeNearestNeighborV2": _nearest,
    "PadV3": _pad,
    "TopK": _top_k,
}
