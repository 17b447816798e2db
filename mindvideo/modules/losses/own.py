"""Loss terms of one's own: functions that a user's file registers, and that a configuration then asks for by name."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms

from mindvideo.errors import UserError
from mindvideo.modules.losses.criterion import LossTerm

TermFunction = Callable[..., ms.Tensor]
_REGISTERED: dict[str, LossTerm] = {}


def loss_term(*, layers: str = "all", per: str = "frame", **options: Any) -> Callable[[TermFunction], TermFunction]:
    """Register a function of a :class:`Matched` as a term, under its own name; see ``LossTerm`` for the arguments.

    ``loss.own_terms=[NAME=WEIGHT]`` then adds it to the loss of any family that reads the key.
    """

    def register(function: TermFunction) -> TermFunction:
        name = function.__name__
        if name in _REGISTERED and _REGISTERED[name].function is not function:
            raise UserError(f"two loss terms are called {name}; give one of them another name")
        _REGISTERED[name] = LossTerm(f"loss_{name}", function, 0.0, layers=layers, per=per, options=options)
        return function

    return register


def own_terms(given: Sequence[str]) -> list[LossTerm]:
    """The terms that ``loss.own_terms`` asks for, each as ``NAME=WEIGHT``."""
    terms = []
    for asked in given:
        name, equals, weight = asked.partition("=")
        if name not in _REGISTERED:
            known = ", ".join(sorted(_REGISTERED)) or "none"
            raise UserError(
                f"loss.own_terms asks for {name}, registered are: {known}; name the file that registers it with "
                "--import FILE"
            )
        terms.append(_REGISTERED[name]._replace(weight=_weight(asked, weight) if equals else 1.0))
    return terms


def _weight(asked: str, given: str) -> float:
    try:
        weight = float(given)
    except ValueError:
        weight = -1.0
    if not 0.0 <= weight <= 1e6:
        raise UserError(f"loss.own_terms has {asked}; write NAME=WEIGHT with a weight from 0 to 1e6")
    return weight


def import_file(path: str | Path) -> None:
    """Run a Python file for what it registers."""
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"--import {path}: no such Python file")
    spec = importlib.util.spec_from_file_location(f"mindvideo_user_{path.stem}", path.resolve())
    assert spec is not None and spec.loader is not None  # a .py file has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # the graph compiler looks functions up by their module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"--import {path}{where}: {type(error).__name__}: {error}") from error
