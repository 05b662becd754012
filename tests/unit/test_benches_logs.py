"""Which file on the host is which in a container, and who may write there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tower.benches.logs import Mount, folder_name, host_uid, make_folder, mapped, remedy
from tower.config import Settings

pytestmark = pytest.mark.usefixtures("_state")
LOG = Path("/state/logs/bench-a/p1.log")


@pytest.fixture
def _state() -> None:
    assert not Path("/state").exists(), "these tests reason about /state as a path of nobody's"


@pytest.mark.parametrize(
    ("mounts", "inside"),
    [
        ([], None),
        ([Mount("/elsewhere", "/logs", True)], None),
        ([Mount("/state/log", "/logs", True)], None),
        ([Mount("/state/logs", "/logs", True)], "/logs/bench-a/p1.log"),
        ([Mount("/state/logs/bench-a", "/var/log/tower", True)], "/var/log/tower/p1.log"),
        ([Mount("/state", "/s", True), Mount("/state/logs", "/logs", True)], "/logs/bench-a/p1.log"),
        ([Mount("/", "/host", True)], "/host/state/logs/bench-a/p1.log"),
        # the mount that carries the file is covered by another, so the next longest source counts
        ([Mount("/state/logs", "/l", True), Mount("/x", "/l/bench-a", True)], None),
        (
            [Mount("/state/logs", "/l", True), Mount("/x", "/l/bench-a", True), Mount("/state", "/s", True)],
            "/s/logs/bench-a/p1.log",
        ),
    ],
)
def test_the_longest_source_that_shows_the_file_carries_it(mounts: list[Mount], inside: str | None) -> None:
    found = mapped(LOG, mounts)
    assert (found and found[0]) == inside


def test_links_on_either_side_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    mount = Mount(str(tmp_path / "real"), "/logs", True)
    found = mapped(tmp_path / "link" / "a.log", [mount])
    assert found == ("/logs/a.log", mount)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("bench-a", "bench-a"),
        ("local", "container-0123456789ab"),
        ("..", "container-0123456789ab"),
        ("", "container-0123456789ab"),
        ("a/b", "a_b"),
    ],
)
def test_a_log_folder_is_one_safe_name_and_never_the_hosts(name: str, folder: str) -> None:
    assert folder_name(name, "0123456789abcdef") == folder


def settings(base: Path) -> Settings:
    return Settings(config_dir=base / "c", state_dir=base / "s", socket_path=base / "s/sock")


def as_user(uid: int, script: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script as another user; this needs root."""
    command = ["sh", "-c", script, "sh", *words]
    return subprocess.run(command, user=uid, group=uid, extra_groups=[], capture_output=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_a_root_operator_gives_the_folder_to_the_bench_user(tmp_path: Path) -> None:
    folder = make_folder(settings(tmp_path), "bench-a", 4711)
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (4711, 0o700)
    assert folder.parent.stat().st_mode & 0o777 == 0o711


_MAKE_AS_4710 = """
import os, sys
from pathlib import Path
from tests.unit.test_benches_logs import settings
from tower.benches.logs import make_folder
os.umask(0o022); os.setgid(4710); os.setuid(4710)
for _ in range(2):
    make_folder(settings(Path(sys.argv[1])), 'bench-a', 4711)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_another_operator_opens_the_folder_to_that_user_alone(tmp_path: Path) -> None:
    os.chown(tmp_path, 4710, 4710)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o777 == 0o700:
            parent.chmod(0o711)
    subprocess.run([sys.executable, "-c", _MAKE_AS_4710, str(tmp_path)], check=True)
    folder = tmp_path / "s/logs/bench-a"
    (tmp_path / "s").chmod(0o711)  # a mount does not pass through the folders above its source
    assert as_user(4711, 'umask 077; echo hello >"$1/p.log"', str(folder)).returncode == 0
    assert as_user(4710, 'cat "$1/p.log"', str(folder)).stdout == b"hello\n"
    assert as_user(4712, 'cat "$1/p.log"', str(folder)).returncode != 0
    assert as_user(4712, 'ls "$1"', str(folder)).returncode != 0
    assert as_user(4712, '>"$1/q.log"', str(folder)).returncode != 0


_MAKE_FOR_4711 = """
import os, sys
from pathlib import Path
from tests.unit.test_benches_logs import settings
from tower.benches.logs import make_folder, remedy
os.setgid(4710); os.setuid(4710)
try:
    make_folder(settings(Path(sys.argv[1])), 'bench-a', 4711)
except OSError as error:
    print(error.strerror, remedy(error, Path('F'), 4711))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("owner", [4711, 0])
def test_a_folder_that_is_not_the_operators_is_a_problem_that_names_the_operator(tmp_path: Path, owner: int) -> None:
    """Not even the bench user's own: the operator could read no log in it."""
    folder = tmp_path / "s/logs/bench-a"
    folder.mkdir(parents=True, mode=0o700)
    for path in (tmp_path, folder.parent.parent, folder.parent):
        os.chown(path, 4710, 4710)
    os.chown(folder, owner, owner)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o777 == 0o700:
            parent.chmod(0o711)
    words = [sys.executable, "-c", _MAKE_FOR_4711, str(tmp_path)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert said == f"it belongs to uid {owner} make uid 4710 its owner (chown 4710 F)\n"
    os.chown(folder, 4710, 4710)
    assert subprocess.run(words, check=True, capture_output=True).stdout == b""
    folder.parent.parent.chmod(0o711)
    assert as_user(4711, 'umask 077; echo hello >"$1/p.log"', str(folder)).returncode == 0
    assert as_user(4710, 'cat "$1/p.log"', str(folder)).stdout == b"hello\n"


def test_where_acls_are_not_kept_the_file_system_is_named() -> None:
    assert "POSIX ACLs" in remedy(OSError(errno.ENOTSUP, "Operation not supported"), Path("F"), 4711)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can map more than itself")
def test_a_uid_of_a_user_namespace_is_another_on_the_host() -> None:
    process = subprocess.Popen(["unshare", "--user", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        Path(f"/proc/{process.pid}/uid_map").write_text("0 4710 1\n1 200000 65536\n")
        assert [host_uid(uid, process.pid) for uid in (0, 1, 1000)] == [4710, 200000, 200999]
        assert host_uid(1000, os.getpid()) == host_uid(1000, 0) == 1000
    finally:
        process.kill()
        process.communicate()
