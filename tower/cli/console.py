"""The server as a command sees it, and where its result goes."""

import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import click

from tower import config
from tower.client import Client, Refused
from tower.config import Settings

PAGE: Final = 200
"""Rows in a page; the server's own limit."""

PATIENCE: Final = 90.0
"""Seconds to wait for an answer: above the time that a remove may take to answer."""


class Console:
    """One run of the command line."""

    def __init__(self) -> None:
        self.as_json = False

    @cached_property
    def settings(self) -> Settings:
        """The settings, with a word on standard error where config.yaml is broken."""
        settings = config.load_last_good()
        if settings.warning and not self.as_json:
            click.echo(f"warning: {settings.warning} (going on with the last good values)", err=True)
        return settings

    @cached_property
    def client(self) -> Client:
        """The connection to the server."""
        return Client(self.settings.socket_path)

    @cached_property
    def inside(self) -> bool:
        """Whether the server takes this process for one inside a bench."""
        try:
            self.call("app.preflight")
        except Refused as error:
            if error.code != "host_only":
                raise
            return True
        return False

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        """The result of a method; params that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        result: dict[str, Any] = self.client.call(method, given, PATIENCE)
        return result

    def items(self, method: str, /, **params: Any) -> Iterator[dict[str, Any]]:
        """Every row of a `managed.*` list, page after page."""
        after = None
        while True:
            page = self.call(method, limit=PAGE, after=after, **params)
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def rows(self, method: str, /, filters: Mapping[str, Any] | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Every row of an `app.*` list, page after page."""
        cursor = None
        while True:
            page = self.call(method, limit=PAGE, cursor_next=cursor, filters=filters or None, **params)
            yield from page["rows"]
            cursor = page["cursor_next"]
            if cursor is None:
                return

    def result(self, value: Mapping[str, Any], text: str) -> None:
        """Print the result: the object with --json, else the text."""
        if self.as_json:
            self.json(value)
        elif text:
            click.echo(text)

    def json(self, value: Any) -> None:
        """Print a value as one line of JSON."""
        import msgspec  # noqa: PLC0415 - loaded by those who print JSON

        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line of progress; nothing with --json."""
        if not self.as_json:
            click.echo(text)
