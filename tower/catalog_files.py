"""One YAML file is one template or one launch profile: its fields, and what may stand in them.

Files are read on each use. A file whose inode, size and times are unchanged is not parsed again, unless it
was changed within the last second, when its times might not tell another change.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from tower.yaml_lines import BrokenFile, Document, Place, Problem, named, parse

ARRANGEMENTS: Final = ("even-horizontal", "even-vertical", "main-horizontal", "main-vertical", "tiled")
"""The layouts of tmux(1), select-layout; tmux 3.3a exits on a name that is none of them."""

MOST_PANES: Final = 16
WORD_LIMIT: Final = 127 * 1024
"""Bytes of one argument or one KEY=VALUE; the kernel's own limit is 128 KiB (execve(2), MAX_ARG_STRLEN)."""

RESERVED: Final = frozenset(
    "TMUX TMUX_PANE PWD OLDPWD IFS PPID OPTIND SHLVL _ LINENO RANDOM PS1"
    " PS2 PS4 OPTERR SHELLOPTS BASHOPTS BASH BASHPID BASH_ARGV0 BASH_COMMAND BASH_EXECUTION_STRING BASH_SUBSHELL"
    " BASH_VERSINFO BASH_VERSION COMP_WORDBREAKS EPOCHREALTIME EPOCHSECONDS HISTCMD KSH_VERSION PIPESTATUS"
    " SRANDOM".split()
)
"""Names that tmux or a shell sets itself, so that a profile's value would not arrive; most where sh is bash."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDERS: Final = ("ordinal", "session", "role")
_ANY_SESSION: Final = "\0"
"""A session name that no label can hold otherwise."""
_SETTLED: Final = 1.0
"""Seconds after which a file's times tell any further change of it."""

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class PaneSpec:
    """One pane of a template; no launch command means the bench user's shell."""

    role: str
    capability: str
    label_pattern: str
    default_launch_command_ref: str | None = None


@dataclass(frozen=True)
class Template:
    """The panes that a layout consists of, in the order of their slots; no source means built in."""

    name: str
    arrangement: str
    panes: tuple[PaneSpec, ...]
    source: Path | None = None

    def labels(self, session: str) -> tuple[str, ...]:
        """The label of each pane in a session of that name, without a prefix; {ordinal} counts per role."""
        ordinals: Counter[str] = Counter()
        found = []
        for pane in self.panes:
            ordinals[pane.role] += 1
            values = {"ordinal": str(ordinals[pane.role]), "session": session, "role": pane.role}
            found.append(_PLACEHOLDER.sub(lambda match: values[match[1]], pane.label_pattern))  # noqa: B023 - used at once
        return tuple(found)


@dataclass(frozen=True)
class Profile:
    """How to start an agent: argv, env and working directory. Values of env stay out of its repr."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_dir: str | None = None
    source: Path | None = None


class _Pane(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    capability: str
    label_pattern: str
    default_launch_command_ref: str | None = None


class _TemplateFile(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    panes: list[_Pane]
    arrangement: str = "tiled"


class _ProfileFile(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    command: list[str]
    env: dict[str, Any] = {}
    working_dir: str | None = None


def read_template(file: Path) -> Template:
    """The template in a file; raises BrokenFile."""
    document = parse(file)
    written = document.convert(_TemplateFile)
    _check_name(document, written.name)
    if written.arrangement not in ARRANGEMENTS:
        text = f"{written.arrangement!r} is none of {', '.join(ARRANGEMENTS)}"
        raise document.broken(["arrangement"], text)
    if not 1 <= len(written.panes) <= MOST_PANES:
        text = f"a template has 1 to {MOST_PANES} panes, this one {len(written.panes)}"
        raise document.broken(["panes"], text)
    for slot, pane in enumerate(written.panes):
        _check_pane(document, ["panes", slot], pane)
    template = Template(written.name, written.arrangement, tuple(map(_spec, written.panes)), file)
    _check_labels(document, template)
    return template


def read_profile(file: Path) -> Profile:
    """The launch profile in a file; raises BrokenFile."""
    document = parse(file)
    if isinstance(document.value, dict) and isinstance(document.value.get("command"), str):
        text = 'is a list of words, as in ["claude", "--model", "opus"], not one text'
        raise document.broken(["command"], text)
    written = document.convert(_ProfileFile)
    _check_name(document, written.name)
    _check_command(document, written.command)
    for name, value in written.env.items():
        _check_variable(document, name, value)
    _check_working_dir(document, written.working_dir)
    return Profile(written.name, tuple(written.command), written.env, written.working_dir, file)


def variable_fault(name: str, value: str) -> str | None:
    """What is wrong with a variable for a pane, if anything."""
    if not _ENV_NAME.fullmatch(name):
        return "the name of a variable is letters, digits and _, and begins with no digit"
    if name in RESERVED or name.startswith("TOWER_"):
        return "this variable is set by tmux, a shell or the tower itself; choose another name"
    return word_fault(f"{name}={value}")


def word_fault(word: str) -> str | None:
    """What is wrong with an argument or a KEY=VALUE, if anything."""
    if "\0" in word:
        return "holds a NUL, which no program can be given"
    try:
        size = len(word.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return "holds half of a character (a lone surrogate)"
    return None if size < WORD_LIMIT else f"holds {size} bytes; the kernel takes less than {WORD_LIMIT}"


def read_all(folder: Path, read: Callable[[Path], Parsed]) -> tuple[list[Parsed], list[BrokenFile]]:
    """What the *.yaml files of a folder hold, by file name, and what is wrong with the others of them."""
    found: list[Parsed] = []
    broken: list[BrokenFile] = []
    try:
        files = sorted(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        return [], [_broken(folder, f"cannot be read: {error.strerror}")]
    for file in files:
        if file.suffix == ".yml":
            broken.append(_broken(file, "only *.yaml files are read; rename it"))
        elif file.suffix == ".yaml" and (file.is_fifo() or file.is_socket()):
            broken.append(_broken(file, "is no file"))
        elif file.suffix == ".yaml" and not file.name.startswith("."):
            result = _cached(file, read)
            if isinstance(result, BrokenFile):
                broken.append(result)
            else:
                found.append(result)
    return found, broken


def _broken(file: Path, text: str) -> BrokenFile:
    return BrokenFile(Problem(file, 0, "", text))


_known: dict[tuple[Path, str], tuple[tuple[int, ...], Any]] = {}


def _cached(file: Path, read: Callable[[Path], Parsed]) -> Parsed | BrokenFile:
    key, stamp = (file, read.__name__), _stamp(file)
    kept = _known.get(key)
    if kept and stamp and kept[0] == stamp:
        known: Parsed | BrokenFile = kept[1]
        return known
    result: Parsed | BrokenFile
    try:
        result = read(file)
    except BrokenFile as error:
        result = BrokenFile(error.problem, error.name)
    if stamp and stamp == _stamp(file):
        _known[key] = (stamp, result)
    return result


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What changes with the file; None while a further change might not show."""
    try:
        stat = file.stat()
    except OSError:
        return None
    if abs(time.time() - stat.st_ctime) < _SETTLED:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode


def _spec(pane: _Pane) -> PaneSpec:
    return PaneSpec(pane.role, pane.capability, pane.label_pattern, pane.default_launch_command_ref)


def _check_name(document: Document, name: str, place: Place = ("name",)) -> None:
    if not 1 <= len(name) <= 64 or not name.isprintable() or name != name.strip():
        raise document.broken(place, "a name is 1 to 64 printable characters without blanks at its ends")


def _check_pane(document: Document, place: list[str | int], pane: _Pane) -> None:
    for name in ("role", "capability"):
        if not _IDENTIFIER.fullmatch(getattr(pane, name)):
            raise document.broken([*place, name], "must be 1 to 64 characters of A-Z, a-z, 0-9, _, . and -")
    if pane.default_launch_command_ref is not None:
        _check_name(document, pane.default_launch_command_ref, [*place, "default_launch_command_ref"])
    for found in _PLACEHOLDER.findall(pane.label_pattern):
        if found not in _PLACEHOLDERS:
            text = f"there is no {{{found}}}; there are {{ordinal}}, {{session}} and {{role}}"
            raise document.broken([*place, "label_pattern"], text)


def _check_labels(document: Document, template: Template) -> None:
    """Each is judged with the shortest session name; two are equal only where they are so with any."""
    labels, distinct = template.labels("s"), template.labels(_ANY_SESSION)
    for slot, label in enumerate(labels):
        place: Place = ["panes", slot, "label_pattern"]
        if not _IDENTIFIER.fullmatch(label):
            text = f"gives the label {label!r}, which must be 1 to 64 characters of A-Z, a-z, 0-9, _, . and -"
            raise document.broken(place, text)
        if distinct[slot] in distinct[:slot]:
            first = named(["panes", distinct.index(distinct[slot])])
            raise document.broken(place, f"gives the label {label!r}, which {first} has too; add {{ordinal}}")


def _check_command(document: Document, command: list[str]) -> None:
    if not command or not command[0]:
        raise document.broken(["command"], "the first word is the program and may not be empty")
    if command[0].startswith("-"):
        raise document.broken(["command", 0], "the first word is the program and may not begin with -")
    for number, word in enumerate(command):
        if fault := word_fault(word):
            raise document.broken(["command", number], fault)


def _check_variable(document: Document, name: str, value: object) -> None:
    if not isinstance(value, str):
        raise document.broken(["env", name], "must be text; put quotes around it")
    if fault := variable_fault(name, value):
        raise document.broken(["env", name], fault)


def _check_working_dir(document: Document, folder: str | None) -> None:
    if folder is None:
        return
    if not folder or folder == "~" or folder.startswith("~/"):
        text = "is an absolute path in the bench, or one below the home directory; nothing expands a ~"
        raise document.broken(["working_dir"], text)
    if fault := word_fault(folder):
        raise document.broken(["working_dir"], fault)
