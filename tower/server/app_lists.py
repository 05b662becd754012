"""Lists of the `app.*` methods: filters, order, pages and totals, once for all of them.

A page goes on behind the keys of the last row given, so that rows which come or go meanwhile neither shift nor
repeat others. A cursor belongs to one list, order and set of filters.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from peewee import Expression, Node, Tuple, Value, fn

from tower import models
from tower.errors import ContainerNotFound, ValidationFailed
from tower.server import cursors, scope, views
from tower.server.fields import Limit
from tower.server.methods import Call, Request

COUNT_LIMIT: Final = 10_000
"""Rows up to which a total is exact; of more there is an estimate."""

KEY_LENGTH: Final = 64
"""Characters of a text by which rows are ordered; so the keys of a row fit into a cursor."""

_ORDER: Final = re.compile(r"([a-z_]{1,40})(?::(asc|desc))?")


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Exact matches; a field that is None does not filter."""

    def given(self) -> dict[str, Any]:
        """The filters that count."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class ListRequest(Request, frozen=True):
    """The page of a list; subclasses add their filters."""

    limit: Limit = views.LIMIT
    cursor_next: Annotated[str, Meta(max_length=cursors.LENGTH_LIMIT)] | None = None
    order_by: Annotated[str, Meta(max_length=64)] | None = None


@dataclass(frozen=True)
class Table:
    """A list: its rows as a query, how each goes to the wire, by what they may be ordered and filtered.

    `orders` gives for each name the columns that decide, and `key` those that are unique; none of them may be
    null. `filters` gives for each name of the request's filters a condition of its value.
    """

    name: str
    query: Callable[[], Any]
    wire: Callable[[dict[str, Any]], dict[str, Any]]
    orders: Mapping[str, Sequence[Node]]
    default: str
    key: Sequence[Node]
    filters: Mapping[str, Callable[[Any], Expression]] = field(default_factory=dict)
    ordering: str | None = None
    """What the default order is called on the wire, where that is not `default`."""


@dataclass(frozen=True)
class _Order:
    name: str
    descending: bool
    text: str


def page(call: Call, table: Table, request: ListRequest, filters: Filters) -> dict[str, Any]:
    """A page of the table's rows that these filters let through.

    Raises ValidationFailed on order_by, or on cursor_next when it is of another list, order or filter.
    """
    order = _order(table, request.order_by)
    given = _resolved(call, filters.given())
    about = [table.name, order.text, given]
    models.connect()
    query = _filtered(table, given)
    total = query.select(Value(1)).limit(COUNT_LIMIT + 1).count()
    keys = [*table.orders[order.name], *table.key]
    if request.cursor_next is not None:
        place = cursors.unseal(about, request.cursor_next, "cursor_next")
        query = query.where(Tuple(*keys) < Tuple(*place) if order.descending else Tuple(*keys) > Tuple(*place))
    rows = _read(query, keys, order, request.limit + 1)
    last = rows[request.limit - 1] if len(rows) > request.limit else None
    return {
        "rows": [table.wire(row) for row in rows[: request.limit]],
        "total": total if total <= COUNT_LIMIT else None,
        "total_estimate": None if total <= COUNT_LIMIT else total,
        "cursor_next": last and cursors.seal(about, [last[f"key_{number}"] for number in range(len(keys))]),
        "ordering": order.text,
    }


def page_of_names(name: str, rows: Sequence[dict[str, Any]], request: ListRequest) -> dict[str, Any]:
    """A page of rows that are all at hand, ordered by their name; raises as `page` does."""
    descending = request.order_by == "name:desc"
    if request.order_by not in (None, "name", "name:asc", "name:desc"):
        raise ValidationFailed("order_by", "it is name, with :asc or :desc if you like")
    ordering = "name:desc" if descending else "name:asc"
    ordered = sorted(rows, key=lambda row: str(row["name"]), reverse=descending)
    if request.cursor_next is not None:
        (last,) = cursors.unseal([name, ordering], request.cursor_next, "cursor_next")
        ordered = [row for row in ordered if (row["name"] < last if descending else row["name"] > last)]
    shown = ordered[: request.limit]
    more = len(ordered) > len(shown)
    return {
        "rows": shown,
        "total": len(rows),
        "total_estimate": None,
        "cursor_next": cursors.seal([name, ordering], [shown[-1]["name"]]) if more else None,
        "ordering": ordering,
    }


def one(table: Table, *conditions: Expression) -> dict[str, Any] | None:
    """The one row that meets these conditions, as it goes to the wire."""
    models.connect()
    row = next(iter(table.query().where(*conditions).limit(1).dicts()), None)
    return row and table.wire(row)


def short(column: Any) -> Any:
    """The beginning of a text column, to order by."""
    return fn.substr(column, 1, KEY_LENGTH)


def _resolved(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """The filters with the full id of a bench that goes by its name or prefix."""
    if "container_id" not in given:
        return given
    try:
        return given | {"container_id": scope.bench_of(call.caller, given["container_id"])}
    except ContainerNotFound:
        return given


def _order(table: Table, wanted: str | None) -> _Order:
    if wanted is None:
        name, _, direction = table.default.partition(":")
        return _Order(name, direction == "desc", table.ordering or table.default)
    match = _ORDER.fullmatch(wanted)
    if match is None or match[1] not in table.orders:
        raise ValidationFailed("order_by", f"it is one of {', '.join(table.orders)}, with :asc or :desc if you like")
    direction = match[2] or "asc"
    return _Order(match[1], direction == "desc", f"{match[1]}:{direction}")


def _filtered(table: Table, given: Mapping[str, Any]) -> Any:
    conditions = [table.filters[name](value) for name, value in given.items()]
    query = table.query()
    return query.where(reduce(and_, conditions)) if conditions else query


def _read(query: Any, keys: Sequence[Any], order: _Order, limit: int) -> list[dict[str, Any]]:
    query = query.select_extend(*[key.alias(f"key_{number}") for number, key in enumerate(keys)])
    query = query.order_by(*[key.desc() if order.descending else key.asc() for key in keys])
    return list(query.limit(limit).dicts())
