"""The cost of compiling: the training step of small networks, or an expression in function graphs.

    python -m benchmarks.compiling                                     every family, the networks of the tests
    python -m benchmarks.compiling instanceformer vistr
    python -m benchmarks.compiling --expressions                       common expressions and their replacements
    python -m benchmarks.compiling --expressions "x[:, 1:2]" "x.sum(-1)"

Processor seconds, because they move less with a machine's load than time does; beside busy neighbours they still grow
by a third, so that two versions have to be run at once. An expression is counted after type inference, where each
function graph is evaluated by itself. ``x`` and ``y`` are float32 [2, 3, 4], ``i`` is int32 [2].
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

EXPRESSIONS = (
    "x[:, 1:2]", "part(x, 1, 1, 2)", "x[0]", "at(x, 0, 0)", "x.swapaxes(0, 1)", "swapped(x, 0, 1)", "x.sum(-1)",
    "ops.sum(x, -1)", "x.astype(ms.float16)", "ops.cast(x, ms.float16)", "ops.bmm(x, y.reshape(2, 4, 3))",
    "ops.matmul(x, y.reshape(2, 4, 3))", "x.max(axis=-1)", "ops.amax(x, -1)", "ops.relu(x)", "x + y", "x.reshape(4, 6)",
)  # fmt: skip
MODULE = """
import mindspore as ms
from mindspore import nn, ops
from mindvideo.ops.slices import at, part, swapped
"""
CELL = """

class Expression{number}(nn.Cell):
    def construct(self, x, y, i):
        return {expression}
"""


def steps(names: list[str]) -> None:
    """Processor seconds of the first step of each family's small network, and seconds of a later one."""
    import mindspore as ms
    import numpy as np

    from mindvideo.assembly.training import build_step
    from mindvideo.models.registry import card_of
    from tests.models.small_models import Sizes, batch, new_model, tensors

    for name in names:
        own = new_model(name, Sizes.drawn(0))
        groups = card_of(own.name).parameter_groups(own.cfg)
        step = build_step(own.cfg, own.network, own.training, 100, groups).set_train(True)
        inputs = [*tensors(batch(own)), ms.Tensor(np.zeros((2, 2), np.int64))]
        began = time.process_time()
        step(*inputs)
        compiling = time.process_time() - began
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            step(*inputs)[0].asnumpy()
            seconds.append(time.perf_counter() - began)
        print(f"{name:15s} {compiling:6.1f} s to compile, {min(seconds):.3f} s a step", flush=True)


def expressions(given: list[str]) -> None:
    """Function graphs after type inference, without the two that are always there."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MS_DEV_SAVE_GRAPHS="1", MS_DEV_SAVE_GRAPHS_PATH=folder)
        source = Path(folder) / "written_expressions.py"
        cells = [CELL.format(number=number, expression=expression) for number, expression in enumerate(given)]
        source.write_text(MODULE + "".join(cells), encoding="utf-8")
        import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
        import mindspore as ms
        import numpy as np

        ms.set_context(mode=ms.GRAPH_MODE)
        spec = importlib.util.spec_from_file_location(source.stem, source)
        module = sys.modules[source.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        x, i = ms.Tensor(np.ones((2, 3, 4), np.float32)), ms.Tensor(np.array([1, 0], np.int32))
        for number, expression in enumerate(given):
            for old in Path(folder).glob("**/*.ir"):
                old.unlink()
            getattr(module, f"Expression{number}")()(x, x, i)
            written = next(Path(folder).glob("**/*type_inference*.ir")).read_text(encoding="utf-8")
            print(f"{written.count('subgraph @') - 2:4d}  {expression}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("given", nargs="*", metavar="FAMILY or EXPRESSION")
    parser.add_argument("--expressions", action="store_true")
    arguments = parser.parse_args()
    if arguments.expressions:
        expressions(arguments.given or list(EXPRESSIONS))
        return
    import mindvideo  # noqa: F401
    from mindvideo.models.registry import FAMILIES

    steps(arguments.given or list(FAMILIES))


if __name__ == "__main__":
    main()
