"""Runs the instructions of a pickle that ``torch.save`` can have written, and no others.

Python's own unpickler uses whatever it is given as a key of a dictionary, and a tuple of tuples of tuples in sixty
lines takes longer to hash than anybody waits. It also keeps every object that a pickle asks for. So the instructions
are carried out here: keys are looked at before they are used, and there is a limit to their number.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from mindvideo.errors import UserError

# A checkpoint with the state of its optimiser has some 100 instructions a tensor.
MAX_INSTRUCTIONS = 3_000_000
_MAX_KEY_PARTS = 64
_PLAIN_KEYS = (str, bytes, bool, int, float, type(None))


class World(Protocol):
    """Everything that the instructions can reach outside the pickle."""

    def named(self, module: str, name: str) -> Any:
        """The stand-in for a function or class that the pickle names."""

    def call(self, function: Any, arguments: Any) -> Any: ...

    def set_state(self, owner: Any, state: Any) -> None: ...

    def referred(self, reference: Any) -> Any:
        """The stand-in for an object outside the pickle."""


def checked_key(key: Any) -> Any:
    """``key``, or UserError for one that can take long to hash; those of a checkpoint are plain."""
    parts = key if isinstance(key, tuple) and len(key) <= _MAX_KEY_PARTS else (key,)
    for part in parts:
        is_plain = isinstance(part, _PLAIN_KEYS) or getattr(type(part), "is_plain_key", False)
        if not is_plain or (isinstance(part, int) and abs(part) >> 62):
            raise UserError(
                f"a key of a dictionary or a member of a set is no plain value but a {type(part).__name__} out of "
                "bounds; no checkpoint has that, the file is damaged or made to do harm"
            )
    return key


class PickleMachine:
    """A stack, the stacks below the marks, and what was remembered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO | io.RawIOBase) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast("BinaryIO", stream))):
            if count >= MAX_INSTRUCTIONS:
                raise UserError(f"its pickle has more than {MAX_INSTRUCTIONS} instructions; no checkpoint does")
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _INSTRUCTIONS:
                _INSTRUCTIONS[name](self, argument)
            else:
                raise UserError(
                    f"the file uses the pickle instruction {name}, which torch.save never writes; nothing was run"
                )
        raise EOFError("it has no end")

    def marked(self) -> list[Any]:
        """Take everything that was put on the stack since the last mark."""
        if not self.below:
            raise pickle.UnpicklingError("a mark is missing")
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def drop_marked(self) -> None:
        self.marked()

    def popped(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise pickle.UnpicklingError("its stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def top(self, kind: type, meant: str) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise pickle.UnpicklingError(f"no {meant} where one is added to")
        return self.stack[-1]

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def string(self, argument: str) -> None:
        """A byte string of Python 2: UTF-8, or what it is where it is none, such as the content of an array."""
        content = argument.encode("latin-1")
        try:
            self.stack.append(content.decode("utf-8"))
        except UnicodeDecodeError:
            self.stack.append(content)

    def append(self, items: list[Any]) -> None:
        self.top(list, "list").extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict, "dictionary")
        if len(items) % 2:
            raise pickle.UnpicklingError("a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            target[checked_key(key)] = value

    def add_items(self, _: Any) -> None:
        items = self.marked()
        self.top(set, "set").update(map(checked_key, items))

    def get(self, number: int) -> None:
        if number not in self.memo:
            raise pickle.UnpicklingError(f"object {number} was never remembered")
        self.stack.append(self.memo[number])

    def put(self, number: int) -> None:
        self.memo[number] = self.top(object, "object")

    def global_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.world.named(module, name))

    def stack_name(self, _: Any) -> None:
        module, name = self.popped(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("a name that is no string")
        self.stack.append(self.world.named(module, name))

    def call(self, _: Any) -> None:
        self.stack.append(self.world.call(*self.popped(2)))

    def build(self, _: Any) -> None:
        (state,) = self.popped(1)
        self.world.set_state(self.top(object, "object"), state)

    def refer(self, _: Any) -> None:
        self.stack.append(self.world.referred(*self.popped(1)))

    def push(self, value: Any) -> None:
        self.stack.append(value)


_VALUES = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES "
    "BINBYTES8".split()
)
# Values, containers, the memo, names, calls, states, references to storages. Missing on purpose: the readable forms of
# protocol 0, the old ways to make instances (INST, OBJ), the extension registry, and buffers from outside.
_INSTRUCTIONS: dict[str, Callable[[PickleMachine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": PickleMachine.mark,
    "POP": PickleMachine.pop,
    "POP_MARK": lambda machine, _: machine.drop_marked(),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "BINSTRING": PickleMachine.string,
    "SHORT_BINSTRING": PickleMachine.string,
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "APPEND": lambda machine, _: machine.append(machine.popped(1)),
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.popped(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.popped(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.popped(3))),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "SETITEM": lambda machine, _: machine.set_items(machine.popped(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "ADDITEMS": PickleMachine.add_items,
    "FROZENSET": lambda machine, _: machine.push(frozenset(map(checked_key, machine.marked()))),
    "BINGET": PickleMachine.get,
    "LONG_BINGET": PickleMachine.get,
    "BINPUT": PickleMachine.put,
    "LONG_BINPUT": PickleMachine.put,
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "GLOBAL": PickleMachine.global_name,
    "STACK_GLOBAL": PickleMachine.stack_name,
    "REDUCE": PickleMachine.call,
    "NEWOBJ": PickleMachine.call,
    "BUILD": PickleMachine.build,
    "BINPERSID": PickleMachine.refer,
}
