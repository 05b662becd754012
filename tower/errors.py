"""Every error that an answer may carry, once.

    TowerError
    ├── WireError            a closed set of codes; the fields of a class are the details on the wire
    │   └── (one class per code)
    └── BenchTimeout         a deadline passed while talking to tmux or the engine; never on the wire

A class's docstring says when it is raised; `message` is one sentence: what is wrong and what to do.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


class TowerError(Exception):
    """The root of everything that the tower raises on purpose."""

    transient: ClassVar[bool] = False
    """Whether trying the same again soon may succeed."""

    @property
    def message(self) -> str:
        """One sentence: what is wrong and what to do next."""
        return str(self)


@dataclass(eq=False)
class BenchTimeout(TowerError):
    """A deadline passed before tmux or the engine answered; what was begun may still go on."""

    transient: ClassVar[bool] = True
    what: str
    engine: bool = False
    """Whether the engine was asked, and not the host's own tmux."""

    def __str__(self) -> str:
        return f"{self.what} did not answer in time; see whether it hangs with `tower doctor`."

    def on_the_wire(self) -> "WireError":
        """What whoever asked is told."""
        unavailable = DockerUnavailable if self.engine else TmuxUnavailable
        return unavailable(f"{self.what} did not answer in time")


@dataclass(eq=False)
class WireError(TowerError):
    """An error with a code of the closed set; its fields are the details."""

    code: ClassVar[str] = "internal_error"
    text: ClassVar[str] = ""
    hidden: ClassVar[tuple[str, ...]] = ()
    """Fields that shape the message and are no details."""

    @property
    def details(self) -> dict[str, Any]:
        """What goes to the wire beside code and message."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.hidden}

    def __str__(self) -> str:
        values = {f.name: _readable(getattr(self, f.name)) for f in fields(self)}
        return self.text.format(**values)


def _readable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    return value


@dataclass(eq=False)
class ManagedTemplateNotFound(WireError):
    """A template of this name is neither built in nor in the operator's folder."""

    code: ClassVar[str] = "managed_template_not_found"
    text: ClassVar[str] = "There is no template {template_name!r}; known are: {known_templates}."
    template_name: str
    known_templates: list[str]


@dataclass(eq=False)
class ManagedLaunchCommandNotFound(WireError):
    """An override or a template names a launch profile that does not exist."""

    code: ClassVar[str] = "managed_launch_command_not_found"
    text: ClassVar[str] = (
        "There is no launch profile {profile_name!r} (known: {known_profiles}); add launch_commands/{profile_name}.yaml"
        " to the config dir or name another."
    )
    profile_name: str
    known_profiles: list[str]


@dataclass(eq=False)
class ManagedSessionNameConflict(WireError):
    """A tmux session of exactly that name exists in the bench, the tower's or anyone's."""

    code: ClassVar[str] = "managed_session_name_conflict"
    text: ClassVar[str] = (
        "Bench {container_id} has a session {tmux_session_name!r} already; choose another session name or end that one."
    )
    container_id: str
    tmux_session_name: str


@dataclass(eq=False)
class ManagedPaneLabelConflict(WireError):
    """A live pane of the bench has that label."""

    code: ClassVar[str] = "managed_pane_label_conflict"
    hidden: ClassVar[tuple[str, ...]] = ("holder", "remedy")
    text: ClassVar[str] = "Label {label!r} is taken in bench {container_id} by {holder}; {remedy}."
    container_id: str
    label: str
    holder: str
    remedy: str


@dataclass(eq=False)
class ManagedLayoutCapacityExceeded(WireError):
    """As many layouts as the limit allows are not removed."""

    code: ClassVar[str] = "managed_layout_capacity_exceeded"
    text: ClassVar[str] = (
        "There are {current_count} layouts and the limit is {limit}; remove one with `tower layout remove ID`"
        " or raise limits.layouts in config.yaml."
    )
    current_count: int
    limit: int


@dataclass(eq=False)
class ManagedLayoutNotFound(WireError):
    """No layout has that id."""

    code: ClassVar[str] = "managed_layout_not_found"
    text: ClassVar[str] = "There is no layout {layout_id}; `tower layout list` shows those there are."
    layout_id: str


@dataclass(eq=False)
class ManagedPaneNotFound(WireError):
    """No managed pane has that id."""

    code: ClassVar[str] = "managed_pane_not_found"
    text: ClassVar[str] = "There is no managed pane {pane_id}; `tower pane list` shows those there are."
    pane_id: str


@dataclass(eq=False)
class ManagedPaneProtectedAdopted(WireError):
    """Remove or recreate names an adopted agent."""

    code: ClassVar[str] = "managed_pane_protected_adopted"
    text: ClassVar[str] = (
        "Agent {agent_id} is adopted and the tower never ends what it did not start; end it in its own terminal."
    )
    agent_id: str
    is_adopted: bool = True


@dataclass(eq=False)
class ManagedPaneIllegalTransition(WireError):
    """The pane's state does not allow the action."""

    code: ClassVar[str] = "managed_pane_illegal_transition"
    text: ClassVar[str] = (
        "Pane {pane_id} is {current_state}, which does not allow {requested_action}; wait for it with"
        " `tower layout wait` and try again."
    )
    pane_id: str
    current_state: str
    requested_action: str


@dataclass(eq=False)
class ManagedPaneIllegalRecreateSource(WireError):
    """Only the newest row of a slot, removed or failed, can be recreated."""

    code: ClassVar[str] = "managed_pane_illegal_recreate_source"
    text: ClassVar[str] = (
        "Pane {predecessor_pane_id} is {current_state} and cannot be recreated: only the newest pane of its slot can,"
        " once removed or failed; `tower pane restart` removes a live one first."
    )
    predecessor_pane_id: str
    current_state: str


@dataclass(eq=False)
class ManagedPaneRecreateChainTooDeep(WireError):
    """The predecessor is as deep in its chain as a chain may go."""

    code: ClassVar[str] = "managed_pane_recreate_chain_too_deep"
    text: ClassVar[str] = (
        "Pane {predecessor_pane_id} is at depth {predecessor_chain_depth}, the last of a chain of {limit} panes;"
        " remove its layout and create it anew."
    )
    predecessor_pane_id: str
    predecessor_chain_depth: int
    limit: int = 16


@dataclass(eq=False)
class ManagedPaneConcurrentRecreate(WireError):
    """The predecessor has a successor that lives."""

    code: ClassVar[str] = "managed_pane_concurrent_recreate"
    text: ClassVar[str] = (
        "Pane {predecessor_pane_id} is recreated already as {in_flight_successor_pane_id};"
        " look at it with `tower pane show {in_flight_successor_pane_id}`."
    )
    predecessor_pane_id: str
    in_flight_successor_pane_id: str


@dataclass(eq=False)
class ContainerNotFound(WireError):
    """No bench has that id or name, after a look at the engine."""

    code: ClassVar[str] = "container_not_found"
    text: ClassVar[str] = (
        "There is no bench {container_id!r}; `tower container list` shows the known ones, and a running container"
        " becomes one by the label tower.bench=true."
    )
    container_id: str


@dataclass(eq=False)
class ContainerInactive(WireError):
    """The bench is known, and it is stopped or paused."""

    code: ClassVar[str] = "container_inactive"
    text: ClassVar[str] = "Bench {container_id} is {container_state}; start or unpause the container and try again."
    container_id: str
    container_state: str

    def __str__(self) -> str:
        if self.container_state != "removed":
            return super().__str__()
        return (
            f"The container of bench {self.container_id} is removed; `tower container list` shows those that there are."
        )


@dataclass(eq=False)
class DockerUnavailable(WireError):
    """The engine does not answer."""

    transient: ClassVar[bool] = True
    code: ClassVar[str] = "docker_unavailable"
    text: ClassVar[str] = "The engine does not answer ({reason}); start it or check DOCKER_HOST, then try again."
    reason: str


@dataclass(eq=False)
class TmuxUnavailable(WireError):
    """tmux in the bench is missing or does not answer."""

    code: ClassVar[str] = "tmux_unavailable"
    text: ClassVar[str] = "tmux in the bench cannot be used ({reason}); put that right there and try again."
    reason: str


@dataclass(eq=False)
class AgentNotFound(WireError):
    """No agent has that id."""

    code: ClassVar[str] = "agent_not_found"
    text: ClassVar[str] = "There is no agent {agent_id}; `tower agent list` shows those there are."
    agent_id: str


@dataclass(eq=False)
class PaneNotFound(WireError):
    """No tmux pane seen now has that identity."""

    code: ClassVar[str] = "pane_not_found"
    text: ClassVar[str] = "No tmux pane {pane_id} is seen as described (see {mismatch_field}); scan the panes again."
    pane_id: str
    mismatch_field: str = "pane_id"


@dataclass(eq=False)
class PaneAlreadyRegistered(WireError):
    """The tmux pane is an agent already."""

    code: ClassVar[str] = "pane_already_registered"
    text: ClassVar[str] = "That pane is agent {agent_id} already; use that one (`tower agent list`)."
    agent_id: str


@dataclass(eq=False)
class ScanTimeout(WireError):
    """A scan took longer than it may; it goes on and can be asked for."""

    code: ClassVar[str] = "scan_timeout"
    text: ClassVar[str] = "Scan {scan_id} is still running; ask app.scan.status for it later."
    scan_id: str


@dataclass(eq=False)
class ScanNotFound(WireError):
    """No scan of that id is remembered."""

    code: ClassVar[str] = "scan_not_found"
    text: ClassVar[str] = "There is no scan {scan_id} any more; start another."
    scan_id: str


@dataclass(eq=False)
class AppContractMajorUnsupported(WireError):
    """The client speaks another major version of the contract."""

    code: ClassVar[str] = "app_contract_major_unsupported"
    text: ClassVar[str] = (
        "This server speaks contract {daemon_app_contract_version} and the client major {client_app_contract_major};"
        " use a client of the same major."
    )
    daemon_app_contract_version: str
    client_app_contract_major: int


@dataclass(eq=False)
class ValidationFailed(WireError):
    """A parameter is missing, unknown, of the wrong type or out of bounds."""

    code: ClassVar[str] = "validation_failed"
    text: ClassVar[str] = "{field} is not acceptable: {reason}."
    field: str
    reason: str


@dataclass(eq=False)
class HostOnly(WireError):
    """A peer inside a bench asked for what is not its own bench's."""

    code: ClassVar[str] = "host_only"
    text: ClassVar[str] = "From inside a bench only that bench's own layouts and panes are open; do this on the host."


@dataclass(eq=False)
class PermissionDenied(WireError):
    """The peer, or the state of what it names, does not allow this."""

    code: ClassVar[str] = "permission_denied"
    text: ClassVar[str] = "Not allowed: {reason}."
    reason: str


@dataclass(eq=False)
class ReservedTransition(WireError):
    """A name that is reserved and does nothing yet."""

    code: ClassVar[str] = "not_implemented"
    text: ClassVar[str] = "This is reserved since {reserved_since} and does nothing yet; leave the agent adopted."
    reserved_since: str = "FEAT-013"


@dataclass(eq=False)
class NotFound(WireError):
    """No such event, job or other record."""

    code: ClassVar[str] = "not_found"
    text: ClassVar[str] = "There is no {kind} {id}; list them to see those there are."
    kind: str
    id: str


@dataclass(eq=False)
class UnknownMethod(WireError):
    """No method has that name."""

    code: ClassVar[str] = "unknown_method"
    text: ClassVar[str] = "There is no method {method!r}; check its spelling against the documentation."
    method: str


@dataclass(eq=False)
class MalformedRequest(WireError):
    """The line is not one request object."""

    code: ClassVar[str] = "malformed_request"
    text: ClassVar[str] = "The request is not one JSON object on one line ({reason}); send it again corrected."
    reason: str


@dataclass(eq=False)
class PayloadTooLarge(WireError):
    """A request line or a payload is longer than it may be."""

    code: ClassVar[str] = "payload_too_large"
    text: ClassVar[str] = "The request holds {actual_size_bytes} bytes and may hold {size_limit_bytes}; send less."
    size_limit_bytes: int
    actual_size_bytes: int


@dataclass(eq=False)
class InternalError(WireError):
    """A fault of the tower's own; the cause is in its log."""

    code: ClassVar[str] = "internal_error"
    text: ClassVar[str] = "The tower failed at this; see serve.log and work-*.log in its log folder and report it."


def by_code() -> dict[str, type[WireError]]:
    """Each code of the closed set with its class."""
    return {error.code: error for error in WireError.__subclasses__()}
