"""Settings: paths, limits and times, from defaults, config.yaml and TOWER_* variables, in this order.

The only reader of the tower's environment and of config.yaml. Every number that the tower promises is a setting.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from tower import yaml_lines
from tower.errors import TowerError
from tower.yaml_lines import BrokenFile

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A group of settings."""


class Benches(_Section, frozen=True):
    """Which containers are benches, and whose tmux server is meant there."""

    name_contains: tuple[str, ...] = ("bench",)
    user: str | None = None


class TmuxSettings(_Section, frozen=True):
    """The tmux server in a bench; none means the user's default one."""

    socket_name: str | None = None
    history_limit: Count = 50_000


class Limits(_Section, frozen=True):
    """How many there may be."""

    layouts: Count = 40
    chain_depth: Count = 15


class Logs(_Section, frozen=True):
    """Pane logs: bytes per file, how many older files are kept, and whether they must be on the host."""

    max_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 10 * 1024 * 1024
    keep: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    require_host_path: bool = True


class Times(_Section, frozen=True):
    """Times in seconds."""

    stage: Seconds = 30.0
    settle: Seconds = 1.0
    retry_delays: tuple[Seconds, ...] = (1.0, 2.0)
    look: Seconds = 2.0
    sweep_every: Seconds = 60.0
    sweep_after: Seconds = 300.0
    reconcile_every: Seconds = 60.0
    remove_answer: Seconds = 60.0
    look_at_start: Seconds = 5.0
    scan: Seconds = 30.0
    login_path: Seconds = 5.0
    session_check: Seconds = 10.0
    database: Seconds = 30.0


class Workers(_Section, frozen=True):
    """The worker processes under supervisord and the threads of each."""

    processes: Count = 2
    threads: Count = 16


class _File(_Section, frozen=True):
    """What config.yaml may hold."""

    benches: Benches = Benches()
    tmux: TmuxSettings = TmuxSettings()
    limits: Limits = Limits()
    logs: Logs = Logs()
    times: Times = Times()
    workers: Workers = Workers()
    env_file: str | None = None


class ConfigError(TowerError):
    """config.yaml or a TOWER_* variable is wrong; says where, and what is allowed."""


class Settings(msgspec.Struct, frozen=True, dict=True, kw_only=True):
    """Everything that can be set, once and for all for a process."""

    config_dir: Path
    state_dir: Path
    socket_path: Path
    benches: Benches = Benches()
    tmux: TmuxSettings = TmuxSettings()
    limits: Limits = Limits()
    logs: Logs = Logs()
    times: Times = Times()
    workers: Workers = Workers()
    env_file: Path | None = None
    warning: str | None = None
    """What is wrong with config.yaml, when these are the last good values instead of its own."""

    @cached_property
    def database_path(self) -> Path:
        """The state database."""
        return self.state_dir / "state.sqlite3"

    @cached_property
    def queue_path(self) -> Path:
        """The queue database."""
        return self.state_dir / "queue.sqlite3"

    @cached_property
    def events_path(self) -> Path:
        """The projected event log."""
        return self.state_dir / "events.jsonl"

    @cached_property
    def run_dir(self) -> Path:
        """Locks, wake-up sockets and what else belongs to running processes."""
        return self.state_dir / "run"

    @cached_property
    def supervisord_lock(self) -> Path:
        """What supervisord holds for its life, with its pid in it."""
        return self.run_dir / "supervisord.lock"

    @cached_property
    def pane_logs_dir(self) -> Path:
        """The directory that benches mount; a folder in it for each bench."""
        return self.state_dir / "logs"

    @cached_property
    def process_logs_dir(self) -> Path:
        """The logs of the tower's own processes."""
        return self.state_dir / "log"

    @cached_property
    def config_path(self) -> Path:
        """config.yaml."""
        return self.config_dir / "config.yaml"

    @cached_property
    def last_good_path(self) -> Path:
        """The config.yaml with which the tower was last started."""
        return self.run_dir / "config.last-good.yaml"


SECTIONS: Final = ("benches", "tmux", "limits", "logs", "times", "workers")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings as config.yaml and the environment have them now.

    Raises ConfigError with file, key and what is allowed.
    """
    env = os.environ if environ is None else environ
    paths = _paths(env)
    return _settings(_parse(paths["config_dir"] / "config.yaml"), env, paths)


def load_last_good(environ: Mapping[str, str] | None = None) -> Settings:
    """As `load`; where config.yaml is broken, the values of the last start, with the fault in `warning`.

    Raises ConfigError only where a TOWER_* variable is wrong.
    """
    env = os.environ if environ is None else environ
    try:
        return load(env)
    except ConfigError as error:
        paths = _paths(env)
        kept = paths["state_dir"] / "run" / "config.last-good.yaml"
        try:
            values = _parse(kept)
        except ConfigError:
            values = _File()
        return msgspec.structs.replace(_settings(values, env, paths), warning=str(error))


def remember(settings: Settings) -> None:
    """Keep the present config.yaml as the one with which the tower is started."""
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        settings.last_good_path.write_bytes(settings.config_path.read_bytes())
    except FileNotFoundError:
        settings.last_good_path.unlink(missing_ok=True)


def changed(settings: Settings) -> bool:
    """Whether config.yaml says something else than at the last start; False of a broken one, which does not count."""
    try:
        return _parse(settings.config_path) != _parse(settings.last_good_path)
    except ConfigError:
        return False


def make_state_dirs(settings: Settings) -> None:
    """Make the state directory and those below it, closed to everybody else.

    Raises ConfigError when it cannot be written.
    """
    try:
        for folder in (settings.state_dir, settings.run_dir, settings.process_logs_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.pane_logs_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=settings.run_dir).close()
    except OSError as error:
        raise ConfigError(
            f"the state directory {settings.state_dir} cannot be written ({error.strerror});"
            " make it writable and free some space, or set TOWER_STATE_DIR to another"
        ) from error


def _paths(env: Mapping[str, str]) -> dict[str, Any]:
    home = Path(env.get("HOME") or Path.home())
    config = env.get("TOWER_CONFIG_DIR") or _xdg(env, "XDG_CONFIG_HOME", home / ".config")
    state = env.get("TOWER_STATE_DIR") or _xdg(env, "XDG_STATE_HOME", home / ".local/state")
    state_dir = Path(state).absolute()
    socket_path = Path(env.get("TOWER_SOCKET") or state_dir / "agenttowerd.sock").absolute()
    return {"config_dir": Path(config).absolute(), "state_dir": state_dir, "socket_path": socket_path}


def _xdg(env: Mapping[str, str], name: str, default: Path) -> Path:
    return Path(env.get(name) or default) / "opensoft" / "agenttower"


def _parse(file: Path) -> _File:
    """What the file says; nothing of one that is not there or empty."""
    try:
        document = yaml_lines.parse(file)
        return _File() if document.value is None else document.convert(_File)
    except BrokenFile as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return _File()
        raise ConfigError(str(error)) from error


def _settings(file: _File, env: Mapping[str, str], paths: dict[str, Any]) -> Settings:
    sections: dict[str, Any] = {name: _overridden(name, getattr(file, name), env) for name in SECTIONS}
    env_file = env.get("TOWER_ENV_FILE") or file.env_file
    path = Path(env_file).expanduser() if env_file else None
    if path and not path.is_absolute():
        path = paths["config_dir"] / path
    return Settings(env_file=path, **paths, **sections)


def _overridden(section: str, values: _Section, env: Mapping[str, str]) -> _Section:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(values):
        name = f"TOWER_{section}_{field.name}".upper()
        if name in env:
            found[field.name] = _variable(name, env[name], field.type)
    return msgspec.structs.replace(values, **found)


def _variable(name: str, text: str, kind: Any) -> Any:
    """The value of a TOWER_* variable, which is written as in config.yaml."""
    try:
        return yaml_lines.document(Path(name), text).convert(kind)
    except BrokenFile as error:
        raise ConfigError(str(replace(error.problem, line=0))) from error
