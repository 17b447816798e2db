"""The names of a published checkpoint against the names of a network: an explicit table, strict both ways.

Every entry of the file is matched by exactly one rule, or the conversion fails; every parameter of the network is
filled, or declared to stay fresh. Nothing is guessed. The same table read backwards writes a file with the published
names again.

A family's card answers ``weight_rules(cfg)`` with a list of :class:`RuleTable`, the published checkpoint's first, made
of ``backbone_rules`` and the like (``mindvideo/weights/backbone_rules.py``) and of its own rules. Bare rules in that
list together make the table of the published checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

Transform = Callable[[np.ndarray], np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]  # by name


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""``pattern`` (a regular expression for the whole source name) -> ``replacement``, or None: dropped on purpose.

    ``Rule(r"vistr\.backbone\.0\.body\.(.*)", r"backbone.\1")``. Outside its groups the pattern is a literal string, so
    that the rule can be read backwards; a rule that drops may hold any expression.

    ``transform`` turns the source's values into the parameter's, and ``inverse`` turns those back.
    ``derived`` marks an entry that holds nothing new: it equals ``derived(parameter)``. It is compared on the way in
    (not if ``compared`` is False) and recomputed on the way back; the parameter itself comes from another rule.
    ``part`` (index, count): the parameter is that one of ``count`` equal parts of the entry along axis 0; the other
    parts have rules of their own, and on the way back the parts are joined.
    ``adds``: the values are added to what another rule gives the parameter. ``one_way``: for loading, not for writing.
    ``copies``: the parameter starts from an entry that is another one's, whose rule is a further one.
    """

    pattern: str
    replacement: str | None
    transform: Transform | None = None
    inverse: Transform | None = None
    derived: Transform | None = None
    compared: bool = True
    part: tuple[int, int] | None = None
    adds: bool = False
    one_way: bool = False
    copies: bool = False

    def __post_init__(self) -> None:
        compiled = re.compile(self.pattern)
        if self.replacement is not None:
            groups = sum(isinstance(piece, _Group) for piece in _pieces(self.pattern))
            if groups != compiled.groups:
                raise ValueError(f"rule {self.pattern!r}: a group inside a group must be written (?:...)")
            if {int(number) for number in re.findall(r"\\(\d)", self.replacement)} != set(range(1, groups + 1)):
                raise ValueError(f"rule {self.pattern!r} -> {self.replacement!r}: every group must be used, and exist")
        if not self.is_one_way and (self.transform is None) != (self.inverse is None):
            raise ValueError(f"rule {self.pattern!r}: a transform needs its inverse, and the other way round")

    @property
    def is_one_way(self) -> bool:
        return self.one_way or self.adds or self.copies

    def target(self, source: str) -> str | None:
        """The parameter's name for a source name that this rule matches."""
        match = self.matcher.fullmatch(source)
        return match.expand(self.replacement) if match and self.replacement is not None else None

    def source(self, target: str) -> str | None:
        """The source name of a parameter, or None when the rule does not produce it."""
        if self.replacement is None or self.is_one_way:
            return None
        match = self.backward_matcher.fullmatch(target)
        if match is None:
            return None
        groups = iter(range(1, 10))
        name = "".join(match.group(f"g{next(groups)}") if isinstance(p, _Group) else p for p in _pieces(self.pattern))
        return name if self.matcher.fullmatch(name) else None

    @functools.cached_property
    def matcher(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    @functools.cached_property
    def backward_matcher(self) -> re.Pattern[str]:
        groups = [piece.expression for piece in _pieces(self.pattern) if isinstance(piece, _Group)]
        seen: set[str] = set()
        parts = []
        for piece in re.split(r"(\\\d)", self.replacement or ""):
            if not re.fullmatch(r"\\\d", piece):
                parts.append(re.escape(piece))
            elif piece in seen:
                parts.append(f"(?P=g{piece[1]})")
            else:
                seen.add(piece)
                parts.append(f"(?P<g{piece[1]}>{groups[int(piece[1]) - 1]})")
        return re.compile("".join(parts))


@dataclasses.dataclass(frozen=True)
class RuleTable:
    """One kind of source for one family of networks.

    ``name``: what ``--source`` calls it; ``describes``: the file it is for, for messages.
    ``dropped``: patterns of entries that such a file holds and that are not taken over, whatever the rules say.
    ``fresh``: patterns of parameters that such a file does not hold and that keep their initial values.
    ``class_heads``: patterns of parameters whose shape follows the class list.
    ``diagnose`` (shapes of the file's entries): one sentence for a file that is refused, where it is clear what it is.
    """

    name: str
    rules: tuple[Rule, ...]
    describes: str = "the family's published checkpoint"
    fresh: tuple[str, ...] = ()
    class_heads: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    diagnose: Callable[[Shapes], str | None] | None = None

    def is_dropped(self, source: str) -> bool:
        return any(re.fullmatch(pattern, source) for pattern in self.dropped)

    def is_fresh(self, parameter: str) -> bool:
        return any(re.fullmatch(pattern, parameter) for pattern in self.fresh)

    def is_class_head(self, parameter: str) -> bool:
        return any(re.fullmatch(pattern, parameter) for pattern in self.class_heads)


@dataclasses.dataclass(frozen=True)
class Link:
    """A source entry and the parameter it goes to."""

    source: str
    parameter: str
    rule: Rule


@dataclasses.dataclass
class Plan:
    """The reading of a file by a table: every name of both sides is in exactly one of the lists."""

    table: RuleTable
    links: list[Link] = dataclasses.field(default_factory=list)
    derived: list[Link] = dataclasses.field(default_factory=list)
    added: list[Link] = dataclasses.field(default_factory=list)  # to what the links give their parameters
    dropped: list[str] = dataclasses.field(default_factory=list)
    unknown: list[str] = dataclasses.field(default_factory=list)  # source names that no rule matches
    astray: list[Link] = dataclasses.field(default_factory=list)  # rules that lead to no parameter of this network
    ambiguous: list[str] = dataclasses.field(default_factory=list)  # two rules for a name, two names for a parameter
    missing: list[str] = dataclasses.field(default_factory=list)  # parameters that nothing fills
    fresh: list[str] = dataclasses.field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return bool(self.links) and not self.problems

    @property
    def problems(self) -> int:
        return len(self.unknown) + len(self.astray) + len(self.ambiguous) + len(self.missing)


def plan_loading(table: RuleTable, sources: Iterable[str], parameters: Iterable[str]) -> Plan:
    """Match the names of a file with those of a network."""
    plan = Plan(table)
    wanted = dict.fromkeys(parameters)
    filled: dict[str, str] = {}
    for source in sources:
        rules = [rule for rule in table.rules if rule.matcher.fullmatch(source)]
        if table.is_dropped(source):
            plan.dropped.append(source)
        elif not rules:
            plan.unknown.append(source)
        elif not _go_together(rules):
            plan.ambiguous.append(f"{source}: matched by {' and '.join(repr(rule.pattern) for rule in rules)}")
        elif all(rule.replacement is None for rule in rules):
            plan.dropped.append(source)
        else:
            for rule in rules:
                if (target := rule.target(source)) is not None:
                    _place(plan, Link(source, target, rule), wanted, filled)
    for parameter in wanted:
        if parameter not in filled:
            (plan.fresh if table.is_fresh(parameter) else plan.missing).append(parameter)
    return plan


def _go_together(rules: Sequence[Rule]) -> bool:
    """One rule for the whole entry, or one for each of its parts; any number that add or copy."""
    main = [rule for rule in rules if not rule.adds and not rule.copies]
    if len(main) == 1:
        return main[0].part is None
    parts = sorted(rule.part or (0, 0) for rule in main)
    return parts == [(index, len(main)) for index in range(len(main))]


def _place(plan: Plan, link: Link, wanted: Mapping[str, None], filled: dict[str, str]) -> None:
    if link.parameter not in wanted:
        plan.astray.append(link)
    elif link.rule.derived is not None:
        plan.derived.append(link)
    elif link.rule.adds:
        plan.added.append(link)
    elif link.parameter in filled:
        plan.ambiguous.append(f"{link.parameter}: filled by {filled[link.parameter]} and by {link.source}")
    else:
        filled[link.parameter] = link.source
        plan.links.append(link)


def plan_leaving(table: RuleTable, parameters: Iterable[str]) -> tuple[list[Link], list[str]]:
    """(links from parameters to published names, derived entries included; parameters that no rule names)."""
    links: list[Link] = []
    nameless: list[str] = []
    for parameter in parameters:
        found = []
        for rule in table.rules:
            source = rule.source(parameter)
            if source is not None:
                found.append(Link(source, parameter, rule))
        own = [link.source for link in found if link.rule.derived is None]
        if len(own) > 1:
            raise ValueError(f"table {table.name!r} gives {parameter} two names on the way back: {' and '.join(own)}")
        if not own:
            nameless.append(parameter)
        links.extend(found)
    return links, nameless


def best_plan(
    tables: Sequence[RuleTable], sources: Sequence[str], parameters: Sequence[str], *, name: str | None = None
) -> Plan:
    """The plan of the table called ``name``; without a name, the first that explains everything, else the closest."""
    chosen = [table for table in tables if name is None or table.name == name]
    if not chosen:
        raise ValueError(f"no source is called {name!r}; there are {', '.join(table.name for table in tables)}")
    plans = [plan_loading(table, sources, parameters) for table in chosen]
    return min(plans, key=lambda plan: (not plan.is_complete, not plan.links, plan.problems if plan.links else 0))


def as_tables(rules: Sequence[Rule | RuleTable]) -> list[RuleTable]:
    """A card's answer as tables: bare rules together make the table of the published checkpoint."""
    bare = tuple(rule for rule in rules if isinstance(rule, Rule))
    tables = [table for table in rules if isinstance(table, RuleTable)]
    return [RuleTable("published", bare), *tables] if bare else tables


def identity(values: np.ndarray) -> np.ndarray:
    """For ``derived``: the entry repeats the parameter under a second name."""
    return values


@dataclasses.dataclass(frozen=True)
class _Group:
    expression: str


def _pieces(pattern: str) -> list[str | _Group]:
    r"""Split ``a\.(b|c)\.d`` into literal strings and groups; anything else outside a group is refused."""
    pieces: list[str | _Group] = []
    literal, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\" and position + 1 < len(pattern) and not pattern[position + 1].isalnum():
            literal += pattern[position + 1]
            position += 2
        elif character == "(":
            end = _closing(pattern, position)
            pieces += [literal, _Group(pattern[position + 1 : end])]
            literal, position = "", end + 1
        elif character in ".^$*+?{}[]|\\":
            raise ValueError(f"rule {pattern!r}: outside its groups the pattern must be literal, found {character!r}")
        else:
            literal += character
            position += 1
    return [*pieces, literal]


def _closing(pattern: str, start: int) -> int:
    depth = 0
    for position in range(start, len(pattern)):
        if pattern[position] == "\\" or (position and pattern[position - 1] == "\\"):
            continue
        depth += {"(": 1, ")": -1}.get(pattern[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"rule {pattern!r}: a group is not closed")
