"""`tower serve`: look at every bench, open the socket, answer until told to stop."""

import gc
import logging
import signal
import time
from contextlib import suppress
from typing import Final

from tower import catalog, config, models, recovery
from tower.config import Settings
from tower.events import Projector
from tower.jobs import Holders
from tower.server import served
from tower.server.dispatch import Dispatcher
from tower.server.listener import Listener, allow_many_files, only_server
from tower.server.loop import Loop
from tower.server.waiting import Waiting
from tower.sleepers import Sleepers

log = logging.getLogger(__name__)

_GRACE: Final = 5.0
"""Seconds that requests under way have to end after a stop was asked for; what they have committed goes on anyway."""

_GRACE_POLL: Final = 0.05


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises AlreadyServed when another server has the state directory or the socket, OSError and sqlite3.Error when the
    state directory cannot be used.
    """
    config.make_state_dirs(settings)
    with only_server(settings):
        if settings.warning:
            log.warning("going on with the last good configuration: %s", settings.warning)
        models.use(settings)
        recovery.look_at_start(settings)
        _serve(settings)


def _serve(settings: Settings) -> None:
    allow_many_files()
    models.connect()
    catalog.load(settings)  # what is wrong with the operator's files goes to the log
    projector = Projector(settings)
    waiting = Waiting(settings)
    loop = Loop(waiting)
    dispatcher = Dispatcher(settings, waiting, projector, loop.soon)
    listener = Listener(settings, loop, dispatcher)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.soon(lambda: _stop(loop, listener, waiting)))
    projector.start(verify_first=True)
    gc.freeze()
    _look_after(listener, Sleepers(settings, Holders(settings)), loop, settings.times.look)
    log.info("serving %d methods at %s", len(served.names()), settings.socket_path)
    loop.run()
    projector.stop()
    log.info("stopped")


def _look_after(listener: Listener, sleepers: Sleepers, loop: Loop, every: float) -> None:
    """Look now and every so many seconds, at the socket file and for sleepers.

    Where there is one worker, nobody else ends it when it sleeps.
    """
    listener.look()
    with suppress(OSError):
        sleepers.end()
    loop.later(every, lambda: _look_after(listener, sleepers, loop, every))


def _stop(loop: Loop, listener: Listener, waiting: Waiting) -> None:
    """Let nobody in, answer those who wait with what there is, and give the rest a little time."""
    log.info("stopping")
    listener.close()
    waiting.give_up()
    _end_when_idle(loop, listener, time.monotonic() + _GRACE)


def _end_when_idle(loop: Loop, listener: Listener, deadline: float) -> None:
    if all(client.idle for client in listener.clients) or time.monotonic() >= deadline:
        loop.stop()
        return
    loop.later(_GRACE_POLL, lambda: _end_when_idle(loop, listener, deadline))
