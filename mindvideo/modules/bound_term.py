"""A function of a table of costs or losses, with its options, as a compiled graph can call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from mindspore import nn

from mindvideo.errors import UserError


class BoundTerm(nn.Cell):
    """``function(*inputs)`` with its options filled in; ``function`` is plain, or a ``functools.partial`` of keywords.

    MindSpore does not compile a partial, it leaves it to the Python interpreter, and with it all that follows. So the
    options, which come after the ``num_inputs`` inputs in the function's signature, are passed by position.
    """

    def __init__(self, function: Callable, *, num_inputs: int) -> None:
        super().__init__(auto_prefix=False)
        chosen = dict(function.keywords) if isinstance(function, partial) else {}
        self.function = function.func if isinstance(function, partial) else function
        parameters = list(inspect.signature(self.function).parameters.values())[num_inputs:]
        if any(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters):
            raise UserError(
                f"{self.function.__name__}: a graph passes options by position; leave out the * before them"
            )
        self.options = tuple(chosen.get(parameter.name, parameter.default) for parameter in parameters)

    def construct(self, *inputs):
        return self.function(*inputs, *self.options)
