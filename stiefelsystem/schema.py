"""A closed schema for YAML files: frozen dataclasses say what may stand where, nothing else may.

A dataclass is a section, its type hints are the types of its keys, its defaults those of the file;
so a new key is one new line. What a hint cannot say stands beside it, as `Annotated[…, Rule(…)]`.
The reader works on YAML's nodes instead of plain values, because only they know the line, and what
was really written (YAML 1.1 takes a MAC address for a number in base 60).
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from stiefelsystem.console import StiefelError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Section = TypeVar("Section", bound=DataclassInstance)

_TAG = "tag:yaml.org,2002:"
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_KINDS = {"int": "a number", "float": "a number", "bool": "a yes or no", "timestamp": "a date"}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,9})")
_TAGS = {_TAG + kind for kind in (*_KINDS, "str", "null", "seq", "map")}
_SHOWN = 60


class Node(Protocol):
    """What is used of a YAML node; only a scalar has a style."""

    id: str
    tag: str
    value: Any
    style: str | None
    start_mark: Any


class Invalid(Exception):
    """What is wrong with a value, said by a check that does not know the file or the line.

    A check of one value says it as a predicate ("is not a MAC address"); a check of a section says
    all of it, and names the `key` below the section that is to blame.
    """

    def __init__(self, message: str, *, hint: str = "", key: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.key = key


def printable(text: str) -> str:
    """Any text of one line; what a terminal does not show (a pasted NBSP, an escape) is refused."""
    if not text.isprintable():
        raise Invalid("contains a line break or an invisible character")
    return text


@dataclass(frozen=True)
class Rule:
    """What a value must fulfil: `check` returns it, maybe in a canonical form, or raises Invalid.

    `literal`: what YAML takes for a number, a date or a yes stands for its own letters.
    `secret`: errors do not show the value.
    """

    check: Callable[[Any], Any] = printable
    literal: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Key:
    """The key's name in the file, where it is not the attribute's with dashes."""

    name: str


@dataclass(frozen=True)
class Shorthand:
    """A section that may be a single value instead, which then is that of this attribute."""

    attribute: str


class Entry(NamedTuple):
    """One key of a section: the attribute it fills, its bare type, and what stands beside that."""

    attribute: str
    kind: Any
    extras: tuple[Any, ...]
    required: bool

    @property
    def is_section(self) -> bool:
        """Whether the key has keys below it."""
        return _is_section(self.kind)


@cache
def entries(section: type[DataclassInstance]) -> dict[str, Entry]:
    """The keys of a section by their names in the file."""
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for field in dataclasses.fields(section):
        kind, extras = _unwrap(hints[field.name])
        name = next((x.name for x in extras if isinstance(x, Key)), field.name.replace("_", "-"))
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        found[name] = Entry(field.name, kind, extras, required)
    return found


def key_paths(section: type[DataclassInstance], prefix: str = "") -> Iterator[str]:
    """Every key of the schema, sections too, as a dotted path."""
    for name, entry in entries(section).items():
        yield prefix + name
        if entry.is_section:
            yield from key_paths(entry.kind, f"{prefix}{name}.")


def did_you_mean(wrong: str, names: Iterable[str], *, otherwise: str = "") -> str:
    """A hint that names the nearest of `names`, or else `otherwise`."""
    near = get_close_matches(wrong, list(names), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def read(
    text: str,
    schema: type[Section],
    *,
    name: str,
    finish: Callable[[Section], Section] = lambda section: section,
) -> Section:
    """Read YAML into the dataclass `schema`; `name` is what errors call the file.

    `finish` completes what depends on several keys; its Invalid gets file and line as well.
    """
    reader = _Reader(schema, name)
    root = _compose(text, name)
    section = reader.section(schema, root, "")
    try:
        return finish(section)
    except Invalid as error:
        raise reader.error(error.key, str(error), error.hint) from error


def _compose(text: str, name: str) -> Node:
    """YAML's nodes. Nothing is constructed, so tags call nothing and aliases expand to nothing."""
    try:
        import yaml  # modules must import without third-party packages
    except ImportError as error:
        raise StiefelError(
            f"cannot read {name}: Python's YAML module is missing",
            hint="install python3-yaml (Debian), python-yaml (Arch) or PyYAML (PyPI)",
        ) from error
    try:
        node = cast("Node | None", yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        hint = _yaml_hint(f"{error.context} {error.problem}")
        raise StiefelError(f"{where}: not YAML: {error.problem}", hint=hint) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the control character U+{error.character:04X}"
        raise StiefelError(f"{name}:{line}: not YAML: {problem}") from error
    except RecursionError as error:
        raise StiefelError(f"{name}: not a configuration: nested too deeply") from error
    except (ValueError, OverflowError) as error:  # PyYAML lets them escape: "\UFFFFFFFF"
        raise StiefelError(f"{name}: not YAML: {error}") from error
    if node is None or _is_null(node):
        raise StiefelError(f"{name}: is empty", hint="config-example.yaml shows what belongs there")
    return node


def _yaml_hint(problem: str) -> str:
    if "\\t" in problem:
        return "indent with spaces, not with tabs"
    if "alias" in problem or "anchor" in problem:
        return "put a value that starts with * or & in quotes"
    if "document" in problem:
        return "a configuration has no line with --- or ... in it"
    return "check the indentation, the space after each colon, and the quotes"


class _Reader:
    """Turns nodes into sections and remembers the line of each path for the errors."""

    def __init__(self, schema: type[DataclassInstance], name: str) -> None:
        self._schema = schema
        self._name = name
        self._lines: dict[str, int] = {}

    def error(self, path: str, message: str, hint: str = "") -> StiefelError:
        """An error at `path`, or where it is not in the file, at the section it belongs to."""
        known = path
        while known and known not in self._lines:
            known = known.rpartition(".")[0]
        where = f"{self._name}:{self._lines.get(known, 1)}"
        return StiefelError(
            f"{where}: {path}: {message}" if path else f"{where}: {message}", hint=hint
        )

    def section(self, section: type[Section], node: Node | None, path: str) -> Section:
        """One section with all that is below it; without a node, its defaults."""
        nodes = self._children(section, node, path) if node else {}
        values = {}
        for name, entry in entries(section).items():
            child, there = nodes.get(name), _below(path, name)
            if child is not None and not _is_null(child):
                values[entry.attribute] = self._value(entry.kind, entry.extras, child, there)
            elif entry.required and entry.is_section:
                values[entry.attribute] = self.section(entry.kind, None, there)
            elif entry.required:
                raise self.error(there, "is missing", "config-example.yaml says what it is for")
        return self._build(section, values, path)

    def _build(self, section: type[Section], values: dict[str, Any], path: str) -> Section:
        try:
            return section(**values)
        except Invalid as error:
            raise self.error(_below(path, error.key), str(error), error.hint) from error

    def _children(self, section: type[DataclassInstance], node: Node, path: str) -> dict[str, Node]:
        """The nodes below a section by key, once it is sure that these keys may stand there."""
        self._lines.setdefault(path, _line(node))
        if node.id != "mapping" or node.tag != _TAG + "map":
            raise self.error(
                path,
                f"{_shown(node)} is not a section of keys and values",
                f"its keys are: {', '.join(entries(section))}",
            )
        nodes: dict[str, Node] = {}
        for key, value in node.value:
            if key.id != "scalar":
                self._lines[path] = _line(key)
                raise self.error(path, f"{_shown(key)} stands where a key should")
            there = _below(path, key.value if key.value.isprintable() else ascii(key.value))
            first = self._lines.get(there)
            self._lines[there] = _line(key)
            if key.value not in entries(section):
                raise self.error(there, "unknown key", self._nearest(section, key.value, path))
            if key.value in nodes:
                raise self.error(there, "stands there twice", f"the first is in line {first}")
            nodes[key.value] = value
        return nodes

    def _nearest(self, section: type[DataclassInstance], wrong: str, path: str) -> str:
        """A hint at the key that was meant: here, or by wrong indentation, in another section."""
        here = entries(section)
        if near := get_close_matches(wrong, here, n=1):
            return f"did you mean {_below(path, near[0])}?"
        elsewhere = list(key_paths(self._schema))
        leaves = {found.rpartition(".")[2] for found in elsewhere}
        if near := get_close_matches(wrong, leaves, n=1, cutoff=0.8):
            meant = [found for found in elsewhere if found.rpartition(".")[2] == near[0]]
            return f"did you mean {' or '.join(meant)}?"
        return f"the keys here are: {', '.join(here)}"

    def _value(self, kind: Any, extras: tuple[Any, ...], node: Node, path: str) -> Any:
        if _is_section(kind):
            short = next((x for x in extras if isinstance(x, Shorthand)), None)
            if short is None or node.id != "scalar":
                return self.section(kind, node, path)
            meant = next(e for e in entries(kind).values() if e.attribute == short.attribute)
            value = self._value(meant.kind, meant.extras, node, path)
            return self._build(kind, {short.attribute: value}, path)
        self._lines[path] = _line(node)
        if get_origin(kind) is tuple:
            return self._list(get_args(kind)[0], node, path)
        rule = next((x for x in extras if isinstance(x, Rule)), Rule())
        try:
            return _scalar(kind, rule, node)
        except Invalid as error:
            shown = "the value" if rule.secret else _shown(node)
            raise self.error(path, f"{shown} {error}", error.hint) from error

    def _list(self, item: Any, node: Node, path: str) -> tuple[Any, ...]:
        if node.id != "sequence" or node.tag != _TAG + "seq":
            hint = f"write [{node.value}]" if node.id == "scalar" else ""
            raise self.error(path, f"{_shown(node)} is not a list", hint)
        kind, extras = _unwrap(item)
        return tuple(
            self._value(kind, extras, child, f"{path}[{number}]")
            for number, child in enumerate(node.value)
        )


def _scalar(kind: Any, rule: Rule, node: Node) -> Any:
    """A single value of type `kind`; Invalid is a predicate about the value."""
    tag = node.tag.removeprefix(_TAG) if node.id == "scalar" else node.id
    unquoted = "write it without quotes" if tag == "str" and node.style in {"'", '"'} else ""
    if kind is bool:
        if tag != "bool" or node.value.lower() not in _BOOLS:
            hint = unquoted or did_you_mean(str(node.value), ("true", "false"))
            raise Invalid("is not true or false", hint=hint)
        return _BOOLS[node.value.lower()]
    if kind is int:
        if tag != "int" or not _NUMBER.fullmatch(node.value):
            raise Invalid("is not a whole number", hint=unquoted)
        return rule.check(int(node.value))
    if tag in _KINDS and not rule.literal:
        shown = "…" if rule.secret else node.value
        raise Invalid(f"is {_KINDS[tag]} to YAML, not a text", hint=f'put it in quotes: "{shown}"')
    if tag != "str" and tag not in _KINDS:
        raise Invalid("is not a text")
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if node.value not in choices:
            one_of = f"choose one of: {', '.join(choices)}"
            raise Invalid(
                "is not a valid choice", hint=did_you_mean(node.value, choices, otherwise=one_of)
            )
        return node.value
    text = rule.check(node.value)
    return Path(text) if kind is Path else text


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type hint without `| None` (null stands for the default) and without Annotated."""
    if get_origin(hint) in {Union, types.UnionType}:
        (hint,) = (part for part in get_args(hint) if part is not types.NoneType)
    if get_origin(hint) is not Annotated:
        return hint, ()
    kind, extras = _unwrap(hint.__origin__)
    return kind, (*hint.__metadata__, *extras)


def _is_section(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind)


def _is_null(node: Node) -> bool:
    return node.id == "scalar" and node.tag == _TAG + "null"


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key


def _shown(node: Node) -> str:
    if node.tag not in _TAGS:
        return f"the tag {node.tag[:_SHOWN]!a}"
    if node.id != "scalar":
        return {"sequence": "a list", "mapping": "a section"}[node.id]
    text = node.value if len(node.value) <= _SHOWN else node.value[:_SHOWN] + "…"
    if _is_null(node):
        return "nothing"
    return text if node.tag != _TAG + "str" and text.isprintable() else repr(text)
