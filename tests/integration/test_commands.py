"""What a pane's command is given, byte for byte, and who else gets to see it."""

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import Place, Refused, Tower, eventually, pane
from tests.spots import IDLE, Spot, quick_tower

HOSTILE = [
    "",
    " ",
    "two words",
    "it's",
    'say "hi"',
    ";",
    "a;b",
    "\\;",
    "ends in \\",
    "$HOME",
    "${HOME}",
    "$(id)",
    "`id`",
    "#{pane_id}",
    "#(id)",
    "#",
    "##{x}",
    "{a,b}",
    "{ }",
    "~",
    "~root",
    "*",
    "?",
    "[a-z]",
    "-x",
    "--",
    "%1",
    "=a",
    "a=b",
    "!x",
    "|&<>()",
    "a\nb\n  # indented\n",
    "\ttab\t",
    "\r",
    "Ünïcödé ✓ 漢字 🗼",
    "\x01\x1b[31m\x7f",
    "a'b\"c\\d$e`f#{g}",
]

FOLDER = " a'b\"c;d\\;$HOME#{pane_id}#(id){x,y}~*-x\n\tÜ✓🗼\\"

DUMP = """\
#!/bin/sh
o="${0%/*}/$TOWER_PANE_ID"
cat /proc/$$/cmdline >"$o.argv"
cat /proc/$$/environ >"$o.environ"
readlink -n /proc/$$/cwd >"$o.cwd"
: >"$o.done"
exec sleep 1000000
"""
"""Writes down what it was started with; its own name says where."""

SET_FOR_PANES = {"TOWER_PANE_ID", "TOWER_LAYOUT_ID", "TOWER_LABEL", "TOWER_ROLE"}
SET_BY_TMUX = {"TMUX", "TMUX_TMPDIR", "TMUX_PANE", "TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"}
SET_FOR_USER = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE"}
SET_BY_SHELLS = {"PWD", "OLDPWD", "SHLVL", "_"}


class Dump:
    """The program, in a folder that bench and test share."""

    def __init__(self, place: Place) -> None:
        self.folder = place.path("dump")
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o777)
        self.program = self.folder / "dump it"
        self.program.write_text(DUMP)
        self.program.chmod(0o755)

    def _read(self, pane_id: str, what: str) -> bytes:
        eventually((self.folder / f"{pane_id}.done").exists, what=f"{pane_id} wrote what it got")
        return (self.folder / f"{pane_id}.{what}").read_bytes()

    def argv(self, pane_id: str) -> list[bytes]:
        """The arguments behind the program's name."""
        words = self._read(pane_id, "argv").split(b"\0")[:-1]
        assert words[:2] == [b"/bin/sh", bytes(self.program)]
        return words[2:]

    def environ(self, pane_id: str) -> dict[str, bytes]:
        """The environment."""
        pairs = [line.partition(b"=") for line in self._read(pane_id, "environ").split(b"\0")[:-1]]
        names = [name.decode() for name, _, _ in pairs]
        assert len(names) == len(set(names)), f"a name stands twice: {names}"
        return dict(zip(names, (value for _, _, value in pairs), strict=True))

    def cwd(self, pane_id: str) -> bytes:
        """The working directory."""
        return self._read(pane_id, "cwd")


@pytest.fixture
def dump(spot: Spot) -> Dump:
    """The dump program in the spot's bench."""
    return Dump(spot.place)


def profile(tower: Tower, name: str, command: list[str], **more: Any) -> None:
    """A launch profile that holds any character."""
    tower.write(f"launch_commands/{name}.yaml", yaml.safe_dump({"name": name, "command": command, **more}))


def encoded(texts: list[str]) -> list[bytes]:
    """As a program sees them."""
    return [text.encode() for text in texts]


def numbered(texts: list[str]) -> dict[str, str]:
    """An environment of these values, with nothing in it to look up."""
    return {f"V{number}": text.replace("${", "$_{") for number, text in enumerate(texts)}


def assert_has(environ: Mapping[str, bytes], env: Mapping[str, str]) -> None:
    """The environment holds these, exactly."""
    assert {name: environ.get(name) for name in env} == {name: value.encode() for name, value in env.items()}


def test_argv_env_and_working_dir_arrive_byte_for_byte(spot: Spot, dump: Dump) -> None:
    folder = spot.place.path(FOLDER)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    env = numbered(HOSTILE)
    profile(spot.tower, "hostile", [str(dump.program), *HOSTILE], env=env, working_dir=str(folder))
    profile(spot.tower, "one-word", [str(dump.program)])
    profile(spot.tower, "spread", [str(dump.program), "no", "env"], working_dir="/")
    spot.tower.template("bytes", [pane("a", "hostile"), pane("b", "one-word"), pane("c", "spread", "worker")])
    layout = spot.make("bytes")
    hostile, word, spread = (row["pane_id"] for row in layout["panes"])

    assert dump.argv(hostile) == encoded(HOSTILE)
    assert_has(dump.environ(hostile), env)
    assert dump.cwd(hostile) == str(folder).encode()
    assert dump.argv(word) == []
    assert dump.cwd(word) == dump.environ(word)["HOME"]
    assert dump.argv(spread) == [b"no", b"env"]
    assert dump.cwd(spread) == b"/"
    for row in layout["panes"]:
        environ = dump.environ(row["pane_id"])
        assert_has(
            environ,
            {
                "TOWER_PANE_ID": row["pane_id"],
                "TOWER_LAYOUT_ID": layout["layout_id"],
                "TOWER_LABEL": row["label"],
                "TOWER_ROLE": row["role"],
                "TMUX_PANE": row["tmux_pane_id"],
            },
        )
        assert environ["LANG"].lower().replace(b"-", b"").endswith(b"utf8")


def test_the_environment_holds_nothing_of_the_towers_own(spot: Spot, dump: Dump) -> None:
    profile(spot.tower, "plain", [str(dump.program)], env={"MINE": "1"})
    spot.tower.template("plain", [pane("a", "plain")])
    (row,) = spot.make("plain")["panes"]
    names = set(dump.environ(row["pane_id"]))
    container = set() if spot.bench == "local" else {"HOSTNAME"}
    assert names - SET_FOR_PANES - SET_BY_TMUX - SET_FOR_USER - SET_BY_SHELLS - container == {"MINE"}


def test_any_text_arrives_byte_for_byte(spot: Spot, dump: Dump) -> None:
    alphabet = "".join(map(chr, range(1, 128))) + "äß漢🗼\u2028\ufeff" + " '\"\\;#{}$~\n\t" * 8
    given = {}
    for number in range(16):
        words = ["".join(random.choices(alphabet, k=random.randint(0, 40))) for _ in range(12)]
        given[f"any{number}"] = words
        profile(spot.tower, f"any{number}", [str(dump.program), *words], env=numbered(words))
    spot.tower.template("any", [pane(f"p{number}", name) for number, name in enumerate(given)])
    for row, words in zip(spot.make("any")["panes"], given.values(), strict=True):
        assert dump.argv(row["pane_id"]) == encoded(words)
        assert_has(dump.environ(row["pane_id"]), numbered(words))


class Watch:
    """Looks at the command lines and environments of all processes, again and again, for a secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._over = threading.Event()
        self.rounds = 0
        self.in_command_lines: list[bytes] = []
        self.with_environment: set[int] = set()

    @contextmanager
    def on(self) -> Iterator[None]:
        """While the block runs."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                self._look_at(folder)
            self.rounds += 1

    def _look_at(self, folder: Path) -> None:
        try:
            line = (folder / "cmdline").read_bytes()
            environ = (folder / "environ").read_bytes()
        except OSError:
            return
        if self._secret in line:
            self.in_command_lines.append(line)
        if self._secret in environ:
            self.with_environment.add(int(folder.name))


def files_with(folder: Path, secret: bytes) -> list[str]:
    """The files below a folder that hold these bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "state.sqlite3-wal" for path in files)
    return [str(path) for path in files if secret in path.read_bytes()]


def test_env_values_show_nowhere_but_in_their_own_pane(spot: Spot) -> None:
    secret = f"s3cret-{random.getrandbits(64):x}"
    profile(spot.tower, "secretive", IDLE, env={"API_TOKEN": secret, "PLAIN": f"x{secret}"})
    spot.tower.template("secretive", [pane("p0", "idle"), pane("p1", "secretive"), pane("p2", "idle")])
    watch = Watch(secret)
    with watch.on():
        layout = spot.make("secretive")
        eventually(lambda: watch.rounds > 3, what="the watch has gone round")
    shown = spot.tower.call("managed.layout.detail", layout_id=layout["layout_id"])
    events = spot.tower.call("app.event.list", filters={"layout_id": layout["layout_id"]}, limit=200)
    messages = spot.place.tmux("show-messages")
    session = spot.place.tmux("show-environment", "-t", f"={layout['tmux_session_name']}")

    assert watch.in_command_lines == []
    assert len(watch.with_environment) == 1, "the pane's own process, and no other"
    if spot.bench == "local":
        mine = spot.place.tmux("display-message", "-p", "-t", layout["panes"][1]["tmux_pane_id"], "#{pane_pid}")
        assert watch.with_environment == {int(mine)}
    assert secret not in session + spot.place.tmux("show-environment", "-g") + messages
    assert secret not in str(shown) + str(events)
    assert files_with(spot.tower.state, secret.encode()) == []


def test_a_working_dir_that_is_not_there_fails_its_pane_alone(spot: Spot) -> None:
    profile(spot.tower, "lost", IDLE, working_dir="/no/such dir")
    spot.tower.template("lost", [pane("a", "idle"), pane("b", "lost"), pane("c", "idle")])
    layout = spot.tower.settled(spot.accept("lost"))
    first, lost, last = layout["panes"]
    assert (first["state"], last["state"]) == ("ready", "ready")
    assert (lost["state"], lost["failed_stage"]) == ("failed", "pane_create")
    assert "/no/such dir" in lost["reason"]
    assert (layout["state"], layout["failed_stage"]) == ("failed", "pane_create")


# ${NAME}


@pytest.fixture(scope="module")
def named() -> Iterator[Spot]:
    """A tower that was started with a variable in its environment, and has an env_file."""
    tower = quick_tower(GIVEN_AT_UP="from up")
    tower.write("config.yaml", "env_file: secrets.env\n")
    tower.write("secrets.env", "IN_FILE='from file'\n")
    try:
        yield Spot(Place(tower.up()))
    finally:
        tower.close()


def test_names_are_looked_up_in_the_environment_of_up_and_in_the_env_file(named: Spot) -> None:
    dump = Dump(named.place)
    env = {"A": "${GIVEN_AT_UP}", "B": "<${IN_FILE}>", "C": "$IN_FILE"}
    profile(named.tower, "names", [str(dump.program)], env=env)
    named.tower.template("names", [pane("a", "names")])
    named.tower.write("secrets.env", "IN_FILE='from file'\n")
    (first,) = named.make("names")["panes"]
    named.tower.write("secrets.env", "IN_FILE=changed\n")
    (second,) = named.make("names")["panes"]
    assert_has(dump.environ(first["pane_id"]), {"A": "from up", "B": "<from file>", "C": "$IN_FILE"})
    assert_has(dump.environ(second["pane_id"]), {"A": "from up", "B": "<changed>", "C": "$IN_FILE"})


def test_a_name_that_is_set_nowhere_is_refused_at_create(named: Spot) -> None:
    profile(named.tower, "unset", IDLE, env={"A": "${SET_NOWHERE}"})
    named.tower.template("unset", [pane("a", "idle"), pane("b", "unset")])
    before = named.tower.rows("SELECT count(*) FROM event")[0][0]
    with pytest.raises(Refused) as refused:
        named.accept("unset")
    assert refused.value.code == "validation_failed"
    assert "SET_NOWHERE" in refused.value.details["reason"]
    assert named.tower.rows("SELECT count(*) FROM event")[0][0] == before


def test_a_name_that_goes_missing_later_fails_its_pane_alone(named: Spot) -> None:
    named.tower.write("secrets.env", "FLEETING=1\n")
    profile(named.tower, "fleeting", IDLE, env={"A": "${FLEETING}"})
    named.tower.template("fleeting", [pane("a", "idle"), pane("b", "fleeting")])
    with named.tower.halted("work"):
        layout_id = named.accept("fleeting")
        named.tower.write("secrets.env", "OTHER=1\n")
    stays, fails = named.tower.settled(layout_id)["panes"]
    assert stays["state"] == "ready"
    assert (fails["state"], fails["failed_stage"]) == ("failed", "pane_create")
    assert "FLEETING" in fails["reason"]
