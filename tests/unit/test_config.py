"""Settings: where they come from, and what is said when they are wrong."""

from pathlib import Path

import pytest

from tower import config
from tower.config import ConfigError


def environ(folder: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(folder), **more}


def write(folder: Path, text: str) -> dict[str, str]:
    path = folder / "c"
    path.mkdir(exist_ok=True)
    (path / "config.yaml").write_text(text)
    return environ(folder, TOWER_CONFIG_DIR=str(path), TOWER_STATE_DIR=str(folder / "s"))


def test_paths_without_anything_set(tmp_path: Path) -> None:
    settings = config.load(environ(tmp_path))
    assert settings.config_dir == tmp_path / ".config/opensoft/agenttower"
    assert settings.state_dir == tmp_path / ".local/state/opensoft/agenttower"
    assert settings.socket_path == settings.state_dir / "agenttowerd.sock"


def test_paths_from_xdg_and_from_the_towers_own_variables(tmp_path: Path) -> None:
    xdg = environ(tmp_path, XDG_CONFIG_HOME="/x/c", XDG_STATE_HOME="/x/s")
    assert config.load(xdg).config_dir == Path("/x/c/opensoft/agenttower")
    assert config.load(xdg).state_dir == Path("/x/s/opensoft/agenttower")
    own = xdg | {"TOWER_CONFIG_DIR": "/o/c", "TOWER_STATE_DIR": "/o/s", "TOWER_SOCKET": "/o/sock"}
    assert config.load(own).config_dir == Path("/o/c")
    assert config.load(own).state_dir == Path("/o/s")
    assert config.load(own).socket_path == Path("/o/sock")


def test_a_variable_beats_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    found = write(tmp_path, "limits: {layouts: 7}\ntimes: {settle: 2}\nenv_file: secrets.env")
    settings = config.load(found | {"TOWER_TIMES_SETTLE": "0.25", "TOWER_BENCHES_NAME_CONTAINS": "[dev, bench]"})
    assert settings.limits.layouts == 7
    assert settings.times.settle == 0.25
    assert settings.times.stage == 30
    assert settings.benches.name_contains == ("dev", "bench")
    assert settings.env_file == tmp_path / "c/secrets.env"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {layout: 3}", "1: limits.layout: no such field; there are: layouts, chain_depth"),
        ("# mine\nlimit: {}", "2: limit: no such field; there are: benches, tmux, limits"),
        ("limits:\n  layouts: many", "2: limits.layouts: expected int, got text"),
        ("limits: {layouts: true}", "1: limits.layouts: expected int, got bool"),
        ("limits: {layouts: 0}", "1: limits.layouts: expected int >= 1"),
        ("times:\n  retry_delays: [1, soon]", "2: times.retry_delays[1]: expected float, got text"),
        ("- a list", "1: expected mapping, got list"),
        ("limits: {layouts: 3", "1: is not YAML"),
        ("limits: {layouts: 3}\nlimits: {layouts: 4}", "2: is not YAML: the key 'limits' stands twice"),
        ("env_file: *s3cr3t", "1: is not YAML: a value that begins with *"),
    ],
)
def test_a_wrong_file_is_named_with_key_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    found = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(found)
    assert f"{tmp_path / 'c/config.yaml'}:{said}" in caught.value.message
    assert "s3cr3t" not in caught.value.message


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^TOWER_TIMES_STAGE: expected float, got text$"):
        config.load(environ(tmp_path, TOWER_TIMES_STAGE="soon"))
    with pytest.raises(ConfigError, match=r"^TOWER_TMUX_SOCKET_NAME: is not YAML"):
        config.load(environ(tmp_path, TOWER_TMUX_SOCKET_NAME="["))


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_a_file_may_say_nothing(tmp_path: Path, text: str) -> None:
    assert config.load(write(tmp_path, text)).limits.layouts == 40


def test_what_runs_goes_on_with_the_last_good_values(tmp_path: Path) -> None:
    found = write(tmp_path, "limits: {layouts: 7}")
    config.remember(config.load(found))
    write(tmp_path, "limits: {layouts: x}")
    settings = config.load_last_good(found)
    assert settings.limits.layouts == 7
    assert "expected int" in (settings.warning or "")


def test_what_counts_since_the_start_is_compared_by_its_values(tmp_path: Path) -> None:
    found = write(tmp_path, "limits: {layouts: 7}")
    settings = config.load(found)
    config.remember(settings)
    assert not config.changed(settings)
    write(tmp_path, "# the same\nlimits:\n  layouts: 7\n")
    assert not config.changed(settings)
    write(tmp_path, "limits: {layouts: 8}")
    assert config.changed(settings)
    settings.config_path.unlink()
    assert config.changed(settings)
    config.remember(settings)
    assert not config.changed(settings)


def test_without_good_values_the_defaults_go_on(tmp_path: Path) -> None:
    settings = config.load_last_good(write(tmp_path, "limits: {layouts: x}"))
    assert settings.limits.layouts == 40
    assert settings.warning
