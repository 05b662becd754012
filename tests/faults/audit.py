"""What must hold of a tower at rest, whatever was done to it: rows, tmux and events tell the same story."""

import json
from collections.abc import Iterable
from typing import Any

from tests.harness import Place, Tower
from tower import states


def problems(tower: Tower, places: Iterable[Place]) -> list[str]:
    """One sentence for each thing that is wrong; empty where all is well. Nothing may be under way."""
    found = [*_unfinished(tower), *_events(tower), *_file(tower), *_agents(tower), *_unique(tower)]
    for place in places:
        found += _tmux(tower, place)
    return found


def _unfinished(tower: Tower) -> list[str]:
    jobs = tower.rows("SELECT id, kind, stage FROM job WHERE state IN ('queued', 'running') AND kind != 'reconcile'")
    panes = tower.rows("SELECT pane_id FROM pane WHERE state = 'creating'")
    return [f"job {job['id']} ({job['kind']}, {job['stage']}) is unfinished" for job in jobs] + [
        f"pane {pane['pane_id']} is still creating" for pane in panes
    ]


def _tmux(tower: Tower, place: Place) -> list[str]:
    query = "SELECT pane_id, tmux_pane_id, state FROM pane WHERE container_id = ? AND state IN ('ready', 'degraded')"
    rows = {row["pane_id"]: row["tmux_pane_id"] for row in tower.rows(query, place.container_id)}
    there = place.panes()
    found = [f"pane {pane_id} is live and tmux has no such pane" for pane_id in rows.keys() - there.keys()]
    failed = {row["pane_id"] for row in tower.rows("SELECT pane_id FROM pane WHERE state = 'failed' AND newest")}
    found += [f"tmux has pane {pane_id}, which is not live" for pane_id in there.keys() - rows.keys() - failed]
    found += [
        f"pane {pane_id} is {rows[pane_id]} in its row and {there[pane_id]} in tmux"
        for pane_id in rows.keys() & there.keys()
        if rows[pane_id] != there[pane_id]
    ]
    return found + _sessions(tower, place)


def _sessions(tower: Tower, place: Place) -> list[str]:
    """Sessions of removed layouts, and panes that were to be filled; a layout that this tower lacks is another's."""
    lines = place.tmux("list-panes", "-a", "-F", "#{@tower_session} #{?@tower_blank,1,0} #{session_name}").splitlines()
    states = dict(tower.rows("SELECT layout_id, state FROM layout WHERE container_id = ?", place.container_id))
    there = sorted({tuple(line.split(" ", 2)) for line in lines})
    mine = [(layout_id, blank, name) for layout_id, blank, name in there if layout_id in states]
    return [
        *(f"session {name} belongs to layout {key}, which is removed" for key, _, name in mine
          if states[key] == "removed"),
        *(f"session {name} of layout {key} has a blank pane" for key, blank, name in mine if blank == "1"),
    ]  # fmt: skip


def _agents(tower: Tower) -> list[str]:
    query = (
        "SELECT p.pane_id, count(a.agent_id) AS agents FROM pane p"
        " LEFT JOIN agent a ON a.managed_pane_id = p.pane_id AND a.active"
        " WHERE p.state = 'ready' GROUP BY p.pane_id HAVING agents != 1"
    )
    past = (
        "SELECT a.agent_id FROM agent a JOIN pane p ON p.pane_id = a.managed_pane_id"
        " WHERE a.active AND (p.state = 'removed' OR NOT p.newest)"
    )
    return [
        *(f"ready pane {row['pane_id']} has {row['agents']} agents" for row in tower.rows(query)),
        *(f"agent {row['agent_id']} counts, and its pane is removed or replaced" for row in tower.rows(past)),
    ]


def _unique(tower: Tower) -> list[str]:
    found = []
    for columns, table, live in (
        ("container_id, label", "pane", "state IN ('creating', 'ready', 'degraded')"),
        ("layout_id, slot", "pane", "newest"),
        ("container_id, tmux_session_name", "layout", "state != 'removed'"),
    ):
        query = f"SELECT {columns} FROM {table} WHERE {live} GROUP BY {columns} HAVING count(*) > 1"
        found += [f"{table}: ({columns}) stands twice: {tuple(row)}" for row in tower.rows(query)]
    return found


def projected_events(tower: Tower) -> list[Any]:
    """The whole lines of events.jsonl; the last may just be being written."""
    file = tower.state / "events.jsonl"
    text = file.read_bytes() if file.exists() else b""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


def _file(tower: Tower) -> list[str]:
    """The file holds exactly the events of the database, in order."""
    recorded = [(row["sequence"], row["id"]) for row in tower.rows("SELECT sequence, id FROM event ORDER BY sequence")]
    projected = [(line["sequence"], line["id"]) for line in projected_events(tower)]
    if projected == recorded:
        return []
    return [f"events.jsonl holds {len(projected)} events and the database {len(recorded)}, or in another order"]


def _events(tower: Tower) -> list[str]:
    found = _chains(tower, "pane", "managed_pane_state_changed", legal=True)
    return found + _chains(tower, "layout", "managed_layout_state_changed", legal=False)


def _chains(tower: Tower, table: str, event_type: str, *, legal: bool) -> list[str]:
    """Each state was reached from the one before it by a legal move that is in the log."""
    query = f"SELECT {table}_id AS id, payload FROM event WHERE event_type = ? ORDER BY sequence"
    last: dict[str, Any] = {}
    found = []
    for row in tower.rows(query, event_type):
        payload = json.loads(row["payload"])
        before, after = payload["prev_state"], payload["new_state"]
        if before != last.get(row["id"]):
            found.append(f"{table} {row['id']} left {before} and was {last.get(row['id'])}")
        if legal and before and not states.may_move(before, after, payload["failed_stage"]):
            found.append(f"{table} {row['id']} went from {before} to {after} ({payload['failed_stage']})")
        last[row["id"]] = after
    rows = {row[0]: row[1] for row in tower.rows(f"SELECT {table}_id, state FROM {table}")}
    return found + [f"{table} {key} is {rows[key]} and its last event says {last.get(key)}" for key in rows
                    if rows[key] != last.get(key)]  # fmt: skip
