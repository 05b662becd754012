"""A Docker engine of the tests' own, and a bench image made of the machine's own files.

    python -m tests.engine start DIR     prints the engine's address; does nothing where it runs already
    python -m tests.engine stop DIR      removes its containers, mounts and DIR

DIR must be short (a Unix socket lives in it). Root and Debian's docker.io are needed, a network is not:
containers run with ``--network none``. The image holds bash, dash, tmux, coreutils and what Python links to;
Python itself is mounted by the tests that need it (tests.yard).
"""

import contextlib
import fcntl
import io
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tower.benches.engine import Engine
from tower.errors import TowerError

IMAGE = "tower-bench:latest"
_PROGRAMS = (
    "bash dash tmux env id cat head tail dd mv cp rm ls mkdir chmod chown ln touch sleep true false printf"
    " echo seq sort wc tr cut tee date stat readlink basename dirname uname whoami test yes od timeout stty"
    " tty mktemp nohup nice setsid grep sed awk ps kill find xargs stdbuf expr sync infocmp"
).split()
_TERMINFO = (
    "x/xterm",
    "x/xterm-256color",
    "s/screen",
    "s/screen-256color",
    "t/tmux",
    "t/tmux-256color",
    "d/dumb",
)
_PASSWD = (
    "root:x:0:0:root:/root:/bin/bash\n"
    "dev:x:1000:1000:Developer:/home/dev:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
)
_GROUP = "root:x:0:\ndev:x:1000:\nnogroup:x:65534:\n"
_FOLDERS = {
    **dict.fromkeys(("etc", "home", "home/dev", "root", "proc", "sys", "dev", "run", "var", "opt"), 0o755),
    "tmp": 0o1777,
}
_LINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "usr/bin/sh": "dash",
}
_START = 30.0


def start(folder: Path) -> str:
    """Start the engine of ``folder`` and import the image, unless both are there; returns DOCKER_HOST."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    host = f"unix://{folder}/docker.sock"
    with _locked(folder):
        engine = Engine(host)
        if not _answers(engine):
            _launch(folder, host)
            _wait_for(engine, folder)
        if not _has_image(engine):
            _import(engine)
    return host


def stop(folder: Path) -> None:
    """End the engine and remove everything that it left."""
    if not folder.is_dir():
        return
    engine = Engine(f"unix://{folder}/docker.sock")
    if _answers(engine):
        for container in engine.containers(_soon()):
            with contextlib.suppress(TowerError):
                engine.ask("DELETE", f"/containers/{container['Id']}?force=true&v=true", deadline=_soon())
    _end_all(folder)
    for mount in _mounts_below(folder):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def halt(folder: Path) -> None:
    """End the engine as a machine's shutdown does: its containers stop, and are there when it starts again."""
    if (pid := _pid(folder)) is not None:
        os.kill(pid, signal.SIGTERM)
        _wait_until_gone(pid)


def _soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _launch(folder: Path, host: str) -> None:
    (folder / "docker.pid").unlink(missing_ok=True)
    words = ["dockerd", "--host", host, f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
    words += [f"--pidfile={folder}/docker.pid", "--bridge=none", "--iptables=false", "--storage-driver=vfs"]
    with (folder / "dockerd.log").open("ab") as log:
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _wait_for(engine: Engine, folder: Path) -> None:
    end = _soon(_START)
    while not _answers(engine):
        if time.monotonic() > end:
            last = (folder / "dockerd.log").read_text().splitlines()[-5:]
            raise SystemExit("dockerd did not come up:\n" + "\n".join(last))
        time.sleep(0.05)


def _answers(engine: Engine) -> bool:
    try:
        engine.ask("GET", "/version", deadline=_soon(2))
    except TowerError:
        return False
    return True


def _has_image(engine: Engine) -> bool:
    return any(IMAGE in (image["RepoTags"] or ()) for image in engine.ask("GET", "/images/json", deadline=_soon()))


def _import(engine: Engine) -> None:
    """``docker import`` of a tar made in memory, 30 MB or so."""
    changes = "&changes=CMD%20%5B%22sleep%22%2C%22infinity%22%5D"
    target = f"/images/create?fromSrc=-&repo=tower-bench&tag=latest{changes}"
    engine.send("POST", target, _image(), deadline=_soon(60))


def _image() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", dereference=True) as tar:
        files = {_place(file): file for file in _files()}
        parents = {str(folder) for name in files for folder in list(Path(name).parents)[:-1]}
        for name, mode in sorted({**dict.fromkeys(parents, 0o755), **_FOLDERS}.items()):
            _add(tar, name, tarfile.DIRTYPE, mode=mode, uid=1000 if name == "home/dev" else 0)
        for name, link in _LINKS.items():
            _add(tar, name, tarfile.SYMTYPE, link=link)
        for name, text in {"etc/passwd": _PASSWD, "etc/group": _GROUP, "etc/profile": ""}.items():
            _add(tar, name, tarfile.REGTYPE, text=text)
        for name, file in sorted(files.items()):
            tar.add(file, arcname=name, filter=_root_owned)
    return made.getvalue()


def _add(tar: tarfile.TarFile, name: str, kind: bytes, *, mode: int = 0o644, uid: int = 0, **what: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid, entry.linkname = kind, mode, uid, uid, what.get("link", "")
    text = what.get("text", "").encode()
    entry.size = len(text)
    tar.addfile(entry, io.BytesIO(text))


def _root_owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    return entry


def _place(file: Path) -> str:
    """A file's name in the image, which has one /usr as today's distributions do."""
    name = str(file)
    return name[1:] if name.startswith("/usr/") else f"usr{name}"


def _files() -> set[Path]:
    """The programs, what they link to, a UTF-8 locale and the terminal descriptions."""
    programs = {Path(found) for name in _PROGRAMS if (found := shutil.which(name, path="/usr/bin:/bin"))}
    bases = (Path("/usr/lib/terminfo"), Path("/usr/share/terminfo"))
    terminals = {base / name for name in _TERMINFO for base in bases}
    data = {Path("/usr/lib/locale/C.utf8"), *terminals}
    return {*programs, *_libraries({*programs, *_python_parts()}), *(file for file in data if file.exists())}


def _python_parts() -> set[Path]:
    dynload = Path(sysconfig.get_config_var("DESTSHARED"))
    modules = {file for file in dynload.glob("*.so") if not file.name.startswith("_tkinter")}
    packages = Path(sysconfig.get_path("platlib"))
    ours = {file for name in ("msgspec", "psutil", "yaml") for file in (packages / name).glob("*.so")}
    return {Path(sys.executable).resolve(), *modules, *ours}


def _libraries(files: Iterable[Path]) -> Iterator[Path]:
    done = subprocess.run(["ldd", *files], check=False, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        words = [word for word in line.split() if word.startswith(("/lib", "/usr/lib")) and word[-1] != ":"]
        yield from map(Path, words[:1])


def _end_all(folder: Path) -> None:
    """End the engine, and what of it or of its containers is left; told by its folder in the command line."""
    halt(folder)
    for left in _processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


def _pid(folder: Path) -> int | None:
    try:
        pid = int((folder / "docker.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if pid in _processes_of(folder) else None


def _wait_until_gone(pid: int) -> None:
    end = _soon(_START)
    while time.monotonic() < end and Path(f"/proc/{pid}/stat").exists():
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)


def _processes_of(folder: Path) -> list[int]:
    """dockerd, containerd and its shims: each names a path below the folder as a whole argument."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            named = any(os.fsencode(f"{folder}/") in word for word in words)
            if named and Path(os.fsdecode(words[0])).name.startswith(("dockerd", "containerd")):
                found.append(int(entry.name))
    return found


def _mounts_below(folder: Path) -> list[str]:
    targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((target for target in targets if target.startswith(f"{folder}/")), reverse=True)


@click.command()
@click.argument("verb", type=click.Choice(["start", "stop"]))
@click.argument("folder", type=click.Path(path_type=Path))
def main(verb: str, folder: Path) -> None:
    """Start or stop the engine of a folder."""
    folder = folder.absolute()
    if verb == "start":
        click.echo(start(folder))
    else:
        stop(folder)


if __name__ == "__main__":
    main()
