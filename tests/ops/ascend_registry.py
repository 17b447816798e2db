"""Operators that MindSpore's package can run on Ascend, read from its files; and the operators in our graphs.

``python -m tests.ops.ascend_registry [FAMILY ...]`` compiles the training step and the forward pass of every family,
small, with the twins instead of native operators, and writes the names of their operators to ``graph_operators.json``:
minutes, once a graph has changed.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

LIST = Path(__file__).with_name("graph_operators.json")
KERNELS = "lib/plugin/libmindspore_ops_ascend.so"  # kernels of CANN's aclnn interface, one class each
GRAPH = "lib/plugin/ascend/libmindspore_graph_ir.so"  # translates operators for CANN's graph engine
AICPU = "config/op_info.config"  # kernels on the device's own CPU
# Part of the graph's language or of the runtime, not kernels.
NO_KERNEL = {
    "Depend", "Return", "MakeTuple", "TupleGetItem", "Load", "UpdateState", "Switch", "Partial", "SwitchLayer",
    "StopGradient", "MakeList", "Reshape", "ExpandDims", "Squeeze", "Flatten",
}  # fmt: skip


# Handed to the Python interpreter, on any device; gradients end there.
IN_PYTHON = {"PyExecute", "PyInterpret"}


def package() -> Path:
    return Path(find_spec("mindspore").origin).parent


def class_names(data: bytes, prefix: bytes) -> Iterator[str]:
    """Last names of the C++ classes below ``prefix`` whose type information is in a library."""
    for match in re.finditer(re.escape(prefix) + rb"(?=\d)", data):
        at, name = match.end(), ""
        while length := re.match(rb"\d+", data[at : at + 4]):
            at += len(length[0])
            name = data[at : at + int(length[0])].decode("latin1")
            at += int(length[0])
        yield name


@functools.cache
def kernels() -> frozenset[str]:
    """Names of the operators that have a kernel of CANN's aclnn interface or of the device's own CPU."""
    root, found = package(), set()
    for name in class_names((root / KERNELS).read_bytes(), b"N9mindspore6kernel"):
        found.add(re.sub(r"^Aclnn(\w+)KernelMod$|^(\w+)Ascend$", r"\1\2", name))
    for line in (root / AICPU).read_text().splitlines():
        entry = json.loads(line)
        if entry.get("imply_type") == "AiCPU":
            found.add(entry["op_name"])
    return frozenset(found)


@functools.cache
def _graph_library() -> bytes:
    return (package() / GRAPH).read_bytes()


def is_translated(name: str) -> bool:
    """Whether the library that translates graphs for CANN's graph engine has the name.

    It registers its operators by name. A name of more than 15 letters stands there as a string, a shorter one as the
    numbers that the compiler has made of it: its first and last four or eight letters, within a few instructions.
    """
    data, letters = _graph_library(), name.encode()
    if b"\0" + letters + b"\0" in data:
        return True
    size = 8 if len(letters) >= 8 else 4
    if len(letters) < size:
        return False
    first, last = letters[:size], letters[-size:]
    return any(last in data[match.start() : match.start() + 64] for match in re.finditer(re.escape(first), data))


def without_kernel(names: list[str]) -> list[str]:
    """The operators among ``names`` for which the package has nothing on Ascend."""
    known = kernels() | NO_KERNEL
    return [name for name in names if name in IN_PYTHON or (name not in known and not is_translated(name))]


# In a process of its own, because the backend is chosen once a process. The last line says the names.
COMPILE = """
import json, re, sys
import mindspore as ms, numpy as np
from mindspore.common.api import _cell_graph_executor
from mindspore.train import anf_ir_pb2, mind_ir_pb2
from mindvideo.modules.layers.pixels import NormalizePixels
from tests.models.small_models import Sizes, batch, new_model, tensors
from tests.test_family_matrix import new_step

def operators(cell, *inputs):
    cell.compile(*inputs)
    phase = ".".join((cell.phase, str(cell.create_time), str(id(cell)), cell.arguments_key))
    graph = _cell_graph_executor._graph_executor.get_func_graph_proto
    outer, whole = anf_ir_pb2.ModelProto(), mind_ir_pb2.ModelProto()
    outer.ParseFromString(graph(phase, "anf_ir", False))
    names = {node.op_type for node in outer.graph.node}
    try:
        whole.ParseFromString(graph(phase, "mind_ir", False))
    except RuntimeError as error:  # a network that returns a dict makes it in Python, at its end
        if "PyExecute" not in str(error):
            raise
    names |= {primitive.op_type for primitive in whole.primitives}
    return {name for name in names if re.fullmatch(r"[A-Z]\\w*", name)}

own = new_model(sys.argv[1], Sizes(), dropout=0.1)
step, columns = new_step(own), tensors(batch(own))
names = operators(step, *columns, ms.Tensor(np.zeros((2, 2), np.int64)))
own.network.set_train(False)
forward = operators(own.network, *NormalizePixels()(*columns[:2]))
names |= forward - {"PyExecute"}  # of the dict, when the network is compiled by itself; the training step keeps its own
print(json.dumps(sorted(names)))
"""


def graph_operators(family: str) -> list[str]:
    """The operators in a family's training step with its optimiser and in its forward pass."""
    environment = {**os.environ, "MINDVIDEO_OPS": "reference"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, family], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    from mindvideo.models.registry import FAMILIES

    listed = json.loads(LIST.read_text()) if LIST.is_file() else {}
    listed |= {family: graph_operators(family) for family in sys.argv[1:] or FAMILIES}
    LIST.write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
