"""`${NAME}` in the env of a launch profile: from the tower's own environment, else from the env_file.

The file holds KEY=VALUE lines: blank lines and those that begin with # count for nothing, `export ` may stand
before the name. 'Single quotes' keep what they hold, "double quotes" know \\n, \\t, \\", \\\\ and \\$, and an
unquoted value ends before ` #`. It is read each time, and no value of it shows in any message.
"""

import os
import re
from pathlib import Path
from typing import Final

from tower.yaml_lines import SIZE_LIMIT, Problem

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LINE: Final = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>(?!['"]).*?))\s*(?:(?:(?<=\s)|(?<=['"]))\#.*)?""",
    re.VERBOSE,
)
_OURS: Final = (
    "SUPERVISOR_",
    "TOWER_ENGINE",
    "TOWER_PYTHON",
    "TOWER_STOP_SECONDS",
    "TOWER_VERSION",
    "TOWER_WORKERS_PROCESSES",
)
"""How the names begin that supervisord and `tower up` add to the environment of `tower up`."""

_ESCAPES: Final = {"n": "\n", "t": "\t"}


def expand(text: str, values: "Values") -> str:
    """The text with each `${NAME}` replaced, once; `$NAME` and all else stay as they are.

    Raises KeyError of the first name that is set nowhere.
    """
    return _REFERENCE.sub(lambda match: values.get(match[1]), text)


class Values:
    """Where names are looked up; the file is read when first needed."""

    def __init__(self, env_file: Path | None) -> None:
        self._file = env_file
        self._read: dict[str, str] | None = None

    def get(self, name: str) -> str:
        """The value; raises KeyError."""
        if name in os.environ and not name.startswith(_OURS):
            return os.environ[name]
        if self._read is None:
            self._read = read(self._file)[0] if self._file else {}
        return self._read[name]


def read(file: Path) -> tuple[dict[str, str], list[Problem]]:
    """The variables in a file, and what is wrong with other lines of it."""
    try:
        with file.open("rb") as handle:
            text = handle.read(SIZE_LIMIT).decode("utf-8")
    except OSError as error:
        return {}, [Problem(file, 0, "", f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError:
        return {}, [Problem(file, 0, "", "is not UTF-8")]
    return _parsed(file, text)


def _parsed(file: Path, text: str) -> tuple[dict[str, str], list[Problem]]:
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or "\0" in line:
            problems.append(Problem(file, number, "", "is not KEY=VALUE, or a quote in it does not end"))
        else:
            values[match["name"]] = _value(match)
    return values, problems


def _value(match: "re.Match[str]") -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match["double"])
    return match["bare"]
