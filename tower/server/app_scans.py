"""The methods that look at benches and panes at once, instead of at the next periodic look."""

from tower.errors import ScanNotFound, ScanTimeout
from tower.server import scans
from tower.server.fields import Id
from tower.server.methods import Call, Request, UntilEnd, app
from tower.server.scans import SCANS


class Scan(Request, frozen=True):
    """A scan to begin, or to join."""

    wait: bool = True


class Status(Request, frozen=True):
    """A scan that was begun."""

    scan_id: Id


@app("scan.containers", Scan, errors=(ScanTimeout,))
def scan_containers(call: Call, request: Scan) -> object:
    """Refresh the registry and reconcile every bench."""
    return _scan(call, request, "containers")


@app("scan.panes", Scan, errors=(ScanTimeout,))
def scan_panes(call: Call, request: Scan) -> object:
    """List what tmux has on every bench; registers nothing."""
    return _scan(call, request, "panes")


def _scan(call: Call, request: Scan, kind: str) -> object:
    scan = SCANS.begin(kind, call.settings)
    if not request.wait:
        return scan.answer()
    return UntilEnd(scan.ended.is_set, scan.deadline, lambda ended: _result(scan, ended=ended))


def _result(scan: scans.Scan, *, ended: bool) -> object:
    if not ended:
        raise ScanTimeout(scan.scan_id)
    return scan.answer()


@app("scan.status", Status, errors=(ScanNotFound,))
def scan_status(call: Call, request: Status) -> object:  # noqa: ARG001 - every method's form
    """What became of a scan."""
    return SCANS.find(request.scan_id).answer()
