CREATE TABLE identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    instance TEXT NOT NULL
);

CREATE TABLE bench (
    container_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    runtime TEXT NOT NULL CHECK (runtime IN ('local', 'docker')),
    state TEXT NOT NULL CHECK (state IN ('active', 'inactive')),
    container_state TEXT,
    image TEXT,
    started_at TEXT,
    epoch INTEGER NOT NULL DEFAULT 0,
    first_seen_at TEXT NOT NULL,
    last_scanned_at TEXT NOT NULL,
    scan_problem TEXT
);
CREATE INDEX bench_by_name ON bench (name);

CREATE TABLE layout (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    layout_id TEXT NOT NULL UNIQUE,
    container_id TEXT NOT NULL REFERENCES bench (container_id),
    template_name TEXT NOT NULL,
    arrangement TEXT NOT NULL,
    tmux_session_name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'degraded', 'failed', 'removed')),
    failed_stage TEXT CHECK (failed_stage IS NULL OR state IN ('degraded', 'failed')),
    intended_pane_count INTEGER NOT NULL CHECK (intended_pane_count BETWEEN 1 AND 16),
    idempotency_key TEXT,
    recovery_epoch INTEGER NOT NULL DEFAULT -1,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX layout_session ON layout (container_id, tmux_session_name) WHERE state != 'removed';
CREATE UNIQUE INDEX layout_key ON layout (container_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX layout_by_state ON layout (state, number DESC);
CREATE INDEX layout_by_bench ON layout (container_id, state, number DESC);
CREATE UNIQUE INDEX layout_of_bench ON layout (container_id, layout_id);
CREATE INDEX layout_unremoved ON layout (container_id) WHERE state != 'removed';

CREATE TABLE pane (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    pane_id TEXT NOT NULL UNIQUE,
    layout_id TEXT NOT NULL REFERENCES layout (layout_id),
    container_id TEXT NOT NULL REFERENCES bench (container_id),
    slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 15),
    role TEXT NOT NULL,
    capability TEXT NOT NULL,
    label TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'degraded', 'failed', 'removed')),
    failed_stage TEXT CHECK (
        failed_stage IS NULL OR failed_stage IN
        ('pane_create', 'launch_command', 'registration', 'log_attach', 'tmux_kill', 'recovery_reattach')
    ),
    reason TEXT,
    stage_before_kill TEXT,
    reason_before_kill TEXT,
    newest INTEGER NOT NULL DEFAULT 1 CHECK (newest IN (0, 1)),
    pending_marker_token TEXT CHECK ((state = 'creating') = (pending_marker_token IS NOT NULL)),
    launch_command_ref TEXT,
    argv TEXT NOT NULL,
    working_dir TEXT,
    env_keys TEXT NOT NULL,
    tmux_pane_id TEXT,
    server TEXT,
    agent_id TEXT,
    log_path TEXT,
    log_attached INTEGER NOT NULL DEFAULT 0 CHECK (log_attached IN (0, 1)),
    launched_at TEXT,
    exit_code INTEGER,
    exit_signal INTEGER,
    exited_at TEXT,
    last_output TEXT,
    observed_at TEXT,
    predecessor_id TEXT REFERENCES pane (pane_id),
    chain_depth INTEGER NOT NULL DEFAULT 0 CHECK (chain_depth >= 0),
    idempotency_key TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    CHECK (state NOT IN ('degraded', 'failed') OR failed_stage IS NOT NULL),
    CHECK (state NOT IN ('creating', 'ready', 'removed') OR failed_stage IS NULL OR failed_stage = 'tmux_kill')
);
CREATE UNIQUE INDEX pane_live_label ON pane (container_id, label) WHERE state IN ('creating', 'ready', 'degraded');
CREATE UNIQUE INDEX pane_live_slot ON pane (layout_id, slot) WHERE state IN ('creating', 'ready', 'degraded');
CREATE UNIQUE INDEX pane_newest ON pane (layout_id, slot) WHERE newest = 1;
CREATE UNIQUE INDEX pane_key ON pane (predecessor_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND predecessor_id IS NOT NULL;
CREATE INDEX pane_by_layout ON pane (layout_id, slot, number);
CREATE INDEX pane_successor ON pane (predecessor_id) WHERE predecessor_id IS NOT NULL;
CREATE INDEX pane_unremoved ON pane (container_id) WHERE state != 'removed';
CREATE INDEX pane_creating ON pane (updated_at) WHERE state = 'creating';
CREATE INDEX pane_by_state ON pane (state, layout_id, slot);
CREATE INDEX pane_by_bench ON pane (container_id, state, layout_id, slot);
CREATE UNIQUE INDEX pane_of_bench ON pane (container_id, pane_id);
CREATE INDEX pane_ready ON pane (layout_id) WHERE state = 'ready';

CREATE TABLE agent (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id TEXT NOT NULL UNIQUE,
    container_id TEXT NOT NULL REFERENCES bench (container_id),
    origin TEXT NOT NULL CHECK (origin IN ('managed', 'adopted')),
    managed_pane_id TEXT UNIQUE REFERENCES pane (pane_id),
    tmux_pane_id TEXT NOT NULL,
    tmux_socket TEXT NOT NULL,
    server TEXT NOT NULL,
    tmux_session_name TEXT NOT NULL,
    role TEXT NOT NULL,
    capability TEXT NOT NULL,
    label TEXT NOT NULL,
    project_path TEXT,
    parent_agent_id TEXT,
    active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    log_attached INTEGER NOT NULL DEFAULT 0 CHECK (log_attached IN (0, 1)),
    log_path TEXT,
    registered_at TEXT NOT NULL,
    CHECK ((origin = 'managed') = (managed_pane_id IS NOT NULL))
);
CREATE UNIQUE INDEX agent_of_tmux_pane ON agent (container_id, server, tmux_pane_id) WHERE active = 1;
CREATE UNIQUE INDEX agent_of_bench ON agent (container_id, agent_id);
CREATE INDEX agent_by_bench ON agent (container_id, active);

CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('spawn', 'remove', 'recreate', 'sweep', 'reconcile')),
    container_id TEXT NOT NULL,
    layout_id TEXT,
    pane_id TEXT,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),
    stage TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL,
    claim INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    deadline REAL,
    boot_id TEXT,
    error TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT
);
CREATE INDEX job_unfinished ON job (container_id, id) WHERE state IN ('queued', 'running');
CREATE UNIQUE INDEX job_one_periodic ON job (container_id, kind)
    WHERE kind IN ('sweep', 'reconcile') AND state IN ('queued', 'running');

CREATE TABLE job_pane (
    job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    pane_id TEXT NOT NULL REFERENCES pane (pane_id),
    PRIMARY KEY (job_id, pane_id)
) WITHOUT ROWID;
CREATE INDEX job_pane_by_pane ON job_pane (pane_id);

CREATE TABLE event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    timestamp TEXT NOT NULL,
    event_type TEXT NOT NULL,
    actor TEXT NOT NULL CHECK (actor IN ('operator', 'daemon')),
    container_id TEXT,
    layout_id TEXT,
    pane_id TEXT,
    payload TEXT NOT NULL
);
CREATE INDEX event_by_layout ON event (layout_id, sequence);
CREATE INDEX event_by_pane ON event (pane_id, sequence);
CREATE INDEX event_by_type ON event (event_type, sequence);

CREATE TABLE seen_pane (
    container_id TEXT NOT NULL,
    tmux_socket TEXT NOT NULL,
    tmux_pane_id TEXT NOT NULL,
    server TEXT NOT NULL,
    session_name TEXT NOT NULL,
    window_index INTEGER NOT NULL,
    pane_index INTEGER NOT NULL,
    managed_pane_id TEXT,
    instance TEXT NOT NULL,
    dead INTEGER NOT NULL,
    discovered_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL,
    PRIMARY KEY (container_id, tmux_socket, tmux_pane_id)
) WITHOUT ROWID;

CREATE TABLE message (
    message_id TEXT PRIMARY KEY,
    agent_id TEXT NOT NULL,
    idempotency_key TEXT,
    state TEXT NOT NULL CHECK (state IN ('delivered', 'failed', 'unknown')),
    created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX message_key ON message (agent_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
