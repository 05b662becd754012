"""A power cut: every process is gone at one instant, panes too, and the machine boots with other clocks."""

import os
import shutil
import subprocess
import sys
import time
import uuid

import pytest

from tests.faults.middle import well
from tests.faults.points import Points
from tests.harness import Place, Tower, eventually

BOOTED = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
AGO = 20
"""How many seconds ago the machine that comes up has booted."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="another boot id and clock need root")


def cut_power(tower: Tower) -> None:
    """Everything ends at once, the operator's tmux included, and what lay in /tmp is gone."""
    for _ in range(2):  # supervisord first, or it starts them again; what it was starting then, too
        tower.kill("supervisord")
        tower.kill()
    Place(tower).tmux("kill-server")
    eventually(lambda: not tower.processes(), what="nothing runs")
    for folder in tower.tmux_dir.iterdir():
        shutil.rmtree(folder)


def boot(tower: Tower) -> None:
    """`tower up` on a machine that has booted just now: another boot id, clocks that began anew."""
    boot_id = tower.root / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    clocks = [
        f"--{name}=-{max(0, int(time.clock_gettime(clock)) - AGO)}"
        for name, clock in (("boottime", time.CLOCK_BOOTTIME), ("monotonic", time.CLOCK_MONOTONIC))
    ]
    words = ["unshare", "--mount", "--time", "--fork", *clocks, "sh", "-c", BOOTED, str(boot_id)]
    command = [*words, sys.executable, "-m", "tower", "up"]
    done = subprocess.run(command, env=tower.environ, cwd=tower.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "point",
    ["accept.after_commit", "take.before_commit", "engine.spawn.after", "engine.finish.before", "events.before_append"],
)
def test_a_power_cut_loses_nothing_and_up_just_works(quick: Tower, point: str) -> None:
    tower, place = quick, Place(quick)
    ids = [tower.create("local", session=f"s{number}", label_prefix=f"s{number}-") for number in range(2)]
    for layout_id in ids:
        tower.ready(layout_id)
    points = Points(tower)
    points.arm(point, "KILL")
    tower.cli("layout", "create", "local", "-t", "1m+2s", "-s", "caught", "--no-wait")
    points.fired(point)
    cut_power(tower)
    with (tower.state / "events.jsonl").open("ab") as file:
        file.write(b'{"id":"torn')
    boot(tower)
    for layout_id in ids:  # a slow machine looks a moment after the socket is there
        eventually(lambda: tower.layout(layout_id)["state"] == "failed", within=20)  # noqa: B023 - used at once
        layout = tower.layout(layout_id)
        assert {pane["failed_stage"] for pane in layout["panes"]} == {"recovery_reattach"}
    caught = tower.rows("SELECT layout_id FROM layout WHERE tmux_session_name = 'caught'")
    assert len(caught) == 1
    assert tower.settled(caught[0][0])["state"] in ("ready", "failed")
    for layout_id in (*ids, caught[0][0]):
        if tower.layout(layout_id)["state"] != "ready":
            tower.cli("layout", "recreate", layout_id, check=True)
        tower.ready(layout_id)
    assert len(place.panes()) == 9
    well(tower, place)
