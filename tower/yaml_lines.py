"""YAML files that remember their lines: a value of declared types, or a fault with its line and field.

Stricter than YAML itself in one thing: a key that stands twice in one mapping is a fault, where YAML keeps
the last in silence. Times and dates stay what they look like, so that nothing but text, numbers, lists and
mappings comes out. A fault repeats no value of the file, for that may be a secret.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import msgspec
import yaml

from tower.errors import TowerError

SIZE_LIMIT: Final = 1024 * 1024
"""Bytes of one file."""

_MARKED: Final = re.compile(r"(alias|anchor|tag)( handle)? ['\"]|while \w+ an? (alias|anchor|tag)\b")
"""What PyYAML says of a word after *, & or !, which is a value that was meant to be quoted."""

_ODD: Final = re.compile(r"[^A-Za-z0-9_].*", re.DOTALL)
"""From the first character on that no name of ours holds."""

T = TypeVar("T")
Place = Sequence[str | int]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file; line 0 and an empty field mean the file as a whole."""

    file: Path
    line: int
    field: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{where}: {self.field + ': ' if self.field else ''}{self.text}"


@dataclass(eq=False)
class BrokenFile(TowerError):
    """A YAML file cannot be used; `name` is the one that it gives itself, as far as it could be read."""

    problem: Problem
    name: str = ""

    def __str__(self) -> str:
        return str(self.problem)


class _Loader(yaml.SafeLoader):
    """Safe, without the tags that make dates of text, and strict about keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping; raises MarkedYAMLError for a key that stands twice."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                text = f"the key {_plain(key.value)!r} stands twice"
                raise yaml.MarkedYAMLError(problem=text, problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Document:
    """One YAML document and where its parts stand."""

    def __init__(self, file: Path, node: yaml.Node | None, value: Any) -> None:
        self.file = file
        self.value = value
        self._node = node

    def broken(self, place: Place, text: str) -> BrokenFile:
        """The fault of the value at that place, to be raised."""
        name = self.value.get("name") if isinstance(self.value, dict) else None
        problem = Problem(self.file, self._line(place), named(place), text)
        return BrokenFile(problem, name if isinstance(name, str) else "")

    def convert(self, kind: type[T]) -> T:
        """The value as that type; raises BrokenFile."""
        try:
            return msgspec.convert(self.value, kind)
        except msgspec.ValidationError as error:
            place, text = _explained(str(error), kind)
            raise self.broken(place, text) from error

    def _line(self, place: Place) -> int:
        node, line = self._node, 1
        for step in place:
            node, line = _within(node, step, line)
        if not place and node is not None:
            line = node.start_mark.line + 1
        return line


def parse(file: Path) -> Document:
    """The one document in a file; raises BrokenFile when it cannot be read or is not YAML."""
    return document(file, _text(file))


def document(file: Path, text: str) -> Document:
    """The one document in a text, which comes from that file; raises BrokenFile when it is not YAML."""
    try:
        return _document(file, text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise BrokenFile(Problem(file, line, "", f"is not YAML: {_said(error)}")) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = f"holds a character that YAML does not allow ({error.character!r})"
        raise BrokenFile(Problem(file, line, "", said)) from error
    except (RecursionError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        said = "is nested too deeply, or holds a value that is none"
        raise BrokenFile(Problem(file, 0, "", said)) from error


def _document(file: Path, text: str) -> Document:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return Document(file, node, None if node is None else loader.construct_document(node))
    finally:
        loader.dispose()


def _said(error: yaml.MarkedYAMLError) -> str:
    if _MARKED.search(f"{error.context} {error.problem}"):
        return "a value that begins with *, & or ! means something else there; put quotes around it"
    return error.problem or error.context or "it ends in the middle"


def named(place: Place) -> str:
    """A place as people write it: `panes[0].role`; a key only as far as it is a name."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_plain(step)}" for step in place)
    return text.removeprefix(".")


def _plain(key: str) -> str:
    return _ODD.sub("…", key)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            data = handle.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise BrokenFile(Problem(file, 0, "", f"cannot be read: {error.strerror}")) from error
    if len(data) > SIZE_LIMIT:
        raise BrokenFile(Problem(file, 0, "", f"is larger than {SIZE_LIMIT} bytes"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BrokenFile(Problem(file, line, "", "is not UTF-8")) from error


def _within(node: yaml.Node | None, step: str | int, line: int) -> tuple[yaml.Node | None, int]:
    """The node one step further, and its line; the same line where there is no such node."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        found = node.value[step]
        return found, found.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    return None, line


def _explained(said: str, kind: type) -> tuple[Place, str]:
    """What msgspec says about a value, as a place and a sentence in the words of YAML."""
    said, _, path = said.partition(" - at ")
    place = _place(path)
    if unknown := re.search(r"unknown field `(.*)`", said):
        allowed = ", ".join(_fields(kind, place))
        return [*place, unknown[1]], f"no such field; there are: {allowed}"
    if missing := re.search(r"missing required field `(.*)`", said):
        return place, f"the field {missing[1]!r} is missing"
    words = said.replace("`", "").replace("array", "list").replace("object", "mapping").replace("str", "text")
    return place, words[:1].lower() + words[1:]


def _place(path: str) -> Place:
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", path)
    return [name or int(number) for name, number in steps]


def _fields(kind: type, place: Place) -> Sequence[str]:
    """The fields of the struct at that place, through lists of structs only."""
    for step in place:
        if isinstance(step, str):
            kind = next(field.type for field in msgspec.structs.fields(kind) if field.name == step)
        else:
            (kind,) = get_args(kind)
    return [field.name for field in msgspec.structs.fields(kind)]
