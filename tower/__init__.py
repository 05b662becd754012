"""The tower: layouts of agents in tmux, made once, watched, and brought back.

    config      settings: paths, limits, times; the only reader of environment and config.yaml
    errors      every error code, once
    states      the transition table and the derivation of a layout's state
    models      the state database; migrations/ beside it
    events      the audit log and its projection to events.jsonl
    jobs        the ledger of what is to be done; sleepers: who holds all others up
    catalog     templates and launch profiles; catalog_files, yaml_lines, variables: their files, and ${NAME}
    panes       the one writer of pane and layout states
    lifecycle   create, remove, recreate: what may happen, and the rows
    work        what stages work with: a claim, a bench, its tmux, the time that is left; reach: a bench's tmux
    stages      the four stages of a spawn
    kills       the kill of a remove
    recovery    reconcile, sweep, strays
    agents, inputs, seen    adopting panes; text for agents; every tmux pane seen on benches
    benches/    the host's and containers' tmux servers behind one seam
    tmux/       tmux verbs, scripts, quoting, parsing
    server/     the socket: framing, peers, the registry of methods, rows to wire
    client      the socket client
    addresses   a short id, a session name or session/label to the id it means
    supervision `tower up`, `down` and `status`: supervisord and what runs under it
    doctor      what may be wrong with a machine, and what to do about it; health: what it and readiness judge by
    logs        a pane's log file with its older ones
    cli/        the command line, one file a noun
    clock, names, locks, faults    time, identifiers, locked files, points at which tests kill

The job tasks themselves are in the package `tasks`.
"""

__version__ = "0.1.0"
