"""The registry, and a line's way to a request."""

import json
from typing import Any

import msgspec
import pytest

from tests.unit import rows
from tower import errors, models
from tower.benches import registry
from tower.config import Settings
from tower.server import scope, served
from tower.server.methods import APP, HOST, MANAGED, NAMESPACES, Call, Caller, Method, Namespace
from tower.server.requests import Refused, Understood, understand

BENCH = Caller("a" * 64)

MANAGED_NAMES = {
    "layout.create": {
        "container_id",
        "template_name",
        "tmux_session_name",
        "launch_command_overrides",
        "idempotency_key",
        "label_prefix",
    },
    "layout.list": {"container_id", "state", "limit", "after"},
    "layout.detail": {"layout_id", "include_terminal_panes"},
    "layout.remove": {"layout_id", "wait"},
    "layout.recreate": {"layout_id"},
    "pane.list": {"container_id", "layout_id", "state", "limit", "after"},
    "pane.detail": {"pane_id", "include_predecessor_chain"},
    "pane.remove": {"pane_id", "wait"},
    "pane.recreate": {"predecessor_pane_id", "launch_command_override", "idempotency_key", "check_only"},
    "pane.promote_from_adopted": {"agent_id"},
}
APP_NAMES = {
    "preflight",
    "hello",
    "readiness",
    "scan.containers",
    "scan.panes",
    "scan.status",
    "agent.register_from_pane",
    "send_input",
    "template.list",
    "profile.list",
    *(f"{noun}.{verb}" for noun in ("container", "pane", "agent", "event", "job") for verb in ("list", "detail")),
}

EVERY = [
    pytest.param(space, name, method, id=space.prefix + name)
    for space in NAMESPACES
    for name, method in space.methods.items()
]
FIELDS = [
    pytest.param(space, name, field, id=f"{space.prefix}{name}:{field}")
    for space in NAMESPACES
    for name, method in space.methods.items()
    for field, declared in {known.name: known.type for known in msgspec.structs.fields(method.request)}.items()
    if declared is not msgspec.Raw  # a payload, whose fields its method checks
]


def ask(name: str, params: Any, caller: Caller = HOST, **beside: Any) -> Understood:
    """What a request is understood as."""
    return understand(json.dumps({"method": name, "params": params, **beside}).encode(), caller)


def refusal(name: str, params: Any, caller: Caller = HOST, **beside: Any) -> errors.WireError:
    """The error that a request gets before its function is called."""
    with pytest.raises(Refused) as refused:
        ask(name, params, caller, **beside)
    return refused.value.error


def field_of(error: errors.WireError) -> str:
    """The field that an answer of validation_failed names."""
    assert isinstance(error, errors.ValidationFailed), error
    return error.field


def a_value_for(declared: Any) -> Any:
    """Something that the type of a field takes."""
    if isinstance(declared, msgspec.inspect.UnionType):
        return a_value_for(declared.types[0])
    samples: dict[type, Any] = {
        msgspec.inspect.StrType: "r:l" if ":" in (getattr(declared, "pattern", None) or "") else "a",
        msgspec.inspect.IntType: 1,
        msgspec.inspect.BoolType: True,
        msgspec.inspect.DictType: {},
    }
    if isinstance(declared, msgspec.inspect.LiteralType):
        return declared.values[0]
    return samples.get(type(declared), {})


def good(method: Method) -> dict[str, Any]:
    """Params with every required field."""
    fields = msgspec.inspect.type_info(method.request).fields  # type: ignore[attr-defined] # of a struct
    return {field.encode_name: a_value_for(field.type) for field in fields if field.required}


def test_every_managed_method_is_served_under_both_names() -> None:
    assert set(MANAGED.methods) == set(MANAGED_NAMES)
    for name, method in MANAGED.methods.items():
        assert APP.methods[f"managed_{name.replace('.', '_')}"] is method
        assert set(method.request.__struct_fields__) == MANAGED_NAMES[name]


def test_every_app_method_is_served_and_no_other() -> None:
    assert set(APP.methods) == APP_NAMES | {f"managed_{name.replace('.', '_')}" for name in MANAGED_NAMES}
    assert len(served.names()) == len(EVERY)


@pytest.mark.parametrize(("space", "name", "method"), EVERY)
def test_a_method_declares_errors_of_the_closed_set(space: Namespace, name: str, method: Method) -> None:
    assert method.codes <= set(errors.by_code()), (space, name)
    assert {"validation_failed", "internal_error", "host_only"} <= method.codes


@pytest.mark.parametrize(("space", "name", "method"), EVERY)
def test_a_request_with_the_required_fields_is_understood(space: Namespace, name: str, method: Method) -> None:
    asked = ask(space.prefix + name, good(method))
    assert asked.namespace is space
    assert asked.method is method
    assert isinstance(asked.request, method.request)


@pytest.mark.parametrize(("space", "name", "method"), EVERY)
def test_each_required_field_is_required_by_name(space: Namespace, name: str, method: Method) -> None:
    for field in good(method):
        error = refusal(space.prefix + name, {key: value for key, value in good(method).items() if key != field})
        assert field_of(error) == field


@pytest.mark.parametrize(("space", "name", "method"), EVERY)
def test_unknown_fields_are_refused_by_name_or_ignored(space: Namespace, name: str, method: Method) -> None:
    params = good(method) | {"no_such_field": 1}
    if space is MANAGED:
        assert field_of(refusal(space.prefix + name, params)) == "no_such_field"
        assert field_of(refusal(space.prefix + name, good(method), no_such_field=1)) == "no_such_field"
    else:
        assert ask(space.prefix + name, params | {"app_session_token": "t"}, app_session_token="t").method is method


@pytest.mark.parametrize(("space", "name", "field"), FIELDS)
def test_no_field_takes_a_value_of_another_type(space: Namespace, name: str, field: str) -> None:
    method = space.methods[name]
    declared = {known.name: known.type for known in msgspec.structs.fields(method.request)}[field]
    wrong: list[Any] = [True, 1.5, [[1]], [True]] if declared is not bool else [1, 0, "true", None]
    for value in wrong:
        error = refusal(space.prefix + name, good(method) | {field: value})
        assert field_of(error).split(".")[0].split("[")[0] == field


@pytest.mark.parametrize("name", [*served.names(), "app.", "app.none", "app.managed_none"])
def test_a_bench_peer_gets_host_only_for_every_app_name(name: str) -> None:
    tries: tuple[Any, ...] = ({}, {"limit": True}, [])
    if name.startswith("app."):
        for params in tries:
            error = refusal(name, params, BENCH)
            assert (error.code, error.details) == ("host_only", {})


@pytest.mark.parametrize("name", ["", "managed", "managed.", "managed.none", "app.none", "layout.list", "x" * 60_000])
def test_other_names_are_unknown(name: str) -> None:
    assert refusal(name, {}).code == "unknown_method"


def test_the_envelope_is_checked() -> None:
    for line, field in ((b"{}", "method"), (b'{"method": null}', "method"), (b'{"method": ["x"]}', "method")):
        with pytest.raises(Refused) as refused:
            understand(line, HOST)
        assert field_of(refused.value.error) == field
    assert field_of(refusal("managed.layout.list", [])) == "params"
    assert field_of(refusal("managed.layout.list", None)) == "params"
    assert understand(b'{"method": "managed.layout.list"}', HOST).request == ask("managed.layout.list", {}).request


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"tmux_session_name": "a b"}, "tmux_session_name"),
        ({"tmux_session_name": "a\n"}, "tmux_session_name"),
        ({"tmux_session_name": ""}, "tmux_session_name"),
        ({"tmux_session_name": "x" * 65}, "tmux_session_name"),
        ({"tmux_session_name": "é"}, "tmux_session_name"),
        ({"tmux_session_name": "a\0"}, "tmux_session_name"),
        ({"idempotency_key": "x" * 65}, "idempotency_key"),
        ({"idempotency_key": "\x1b"}, "idempotency_key"),
        ({"label_prefix": "a/b"}, "label_prefix"),
        ({"launch_command_overrides": {"slave": "p"}}, "launch_command_overrides"),
        ({"launch_command_overrides": {"slave:" + "x" * 65: "p"}}, "launch_command_overrides"),
        ({"launch_command_overrides": {"slave:s1": ""}}, "launch_command_overrides"),
        ({"launch_command_overrides": {"slave:s1": 3}}, "launch_command_overrides"),
    ],
)
def test_identifiers_are_checked_before_anything_else(params: dict[str, Any], field: str) -> None:
    whole = {"container_id": "local", "template_name": "t", "tmux_session_name": "a"}
    for name in ("managed.layout.create", "app.managed_layout_create"):
        assert field_of(refusal(name, whole | params)) == field


def test_identifiers_may_have_64_characters() -> None:
    for name in ("tmux_session_name", "idempotency_key", "label_prefix"):
        ask("managed.layout.create", {"template_name": "t", "tmux_session_name": "a", name: "x" * 64})


def test_an_unknown_state_is_told_what_there_is() -> None:
    for wrong in ("gone", ["ready", "gone"]):
        error = refusal("managed.pane.list", {"state": wrong})
        assert field_of(error) == "state"
        assert "creating, degraded, ready, failed, removed" in error.message


@pytest.fixture
def benches(settings: Settings) -> Call:
    """Two benches with a layout each; the call is from inside the first."""
    models.connect()
    for container_id in ("a" * 64, "b" * 64):
        rows.layout("alpha", 1, container_id)
        models.Bench.update(name=f"bench-{container_id[0]}").where(models.Bench.container_id == container_id).execute()
    return Call(settings, BENCH)


def ids(letter: str) -> tuple[str, str]:
    """The layout and the pane of a bench."""
    layout = models.Layout.get(models.Layout.container_id == letter * 64)
    return layout.layout_id, rows.panes_of(layout)[0].pane_id


def run(call: Call, name: str, **params: Any) -> Any:
    """The result of a managed method's function."""
    method = MANAGED.methods[name]
    return method.function(call, msgspec.convert(params, method.request))


def test_a_bench_peer_reads_its_own(benches: Call) -> None:
    layout, pane = ids("a")
    assert run(benches, "layout.detail", layout_id=layout).layout_id == layout
    assert run(benches, "pane.detail", pane_id=pane).pane_id == pane
    for own in (None, "a" * 64, "a" * 12, "bench-a"):
        assert [item.layout_id for item in run(benches, "layout.list", container_id=own).items] == [layout]
        assert [item.pane_id for item in run(benches, "pane.list", container_id=own).items] == [pane]
    assert [item.pane_id for item in run(benches, "pane.list", layout_id=layout).items] == [pane]


def test_a_bench_peer_gets_one_answer_for_the_foreign_and_for_the_unknown(benches: Call) -> None:
    foreign_layout, foreign_pane = ids("b")
    named = ((foreign_layout, foreign_pane, "b" * 64), ("none", "none", "none"))
    for layout, pane, bench in named:
        for name, params in (
            ("layout.detail", {"layout_id": layout}),
            ("layout.remove", {"layout_id": layout}),
            ("layout.recreate", {"layout_id": layout}),
            ("layout.list", {"container_id": bench}),
            ("layout.create", {"container_id": bench, "template_name": "t", "tmux_session_name": "a"}),
            ("pane.detail", {"pane_id": pane}),
            ("pane.remove", {"pane_id": pane}),
            ("pane.recreate", {"predecessor_pane_id": pane}),
            ("pane.list", {"container_id": bench}),
            ("pane.list", {"layout_id": layout}),
            ("pane.promote_from_adopted", {"agent_id": pane}),
        ):
            with pytest.raises(errors.HostOnly):
                run(benches, name, **params)
    for other in ("local", "bench-b", "b" * 12, "a" * 11, "", "a" * 65):
        with pytest.raises(errors.HostOnly):
            scope.own_bench("a" * 64, other)
    models.Bench.update(name="local").where(models.Bench.container_id == "a" * 64).execute()
    with pytest.raises(errors.HostOnly):
        scope.own_bench("a" * 64, "local")


def test_the_beginning_of_an_id_is_taken_as_it_is_written(benches: Call) -> None:
    assert registry.resolve(benches.settings, "a" * 12, may_refresh=False).container_id == "a" * 64
    for text in ("A" * 12, "a" * 11, "a" * 11 + "_", "%" * 12):
        with pytest.raises(errors.ContainerNotFound):
            registry.resolve(benches.settings, text, may_refresh=False)


def test_a_host_peer_is_told_what_is_not_there(benches: Call) -> None:
    host = Call(benches.settings, HOST)
    with pytest.raises(errors.ManagedLayoutNotFound):
        run(host, "pane.list", layout_id="none")
    with pytest.raises(errors.ContainerNotFound):
        run(host, "layout.list", container_id="none")
    with pytest.raises(errors.ValidationFailed, match="container_id"):
        run(host, "layout.create", template_name="t", tmux_session_name="a")
    with pytest.raises(errors.ReservedTransition):
        run(host, "pane.promote_from_adopted", agent_id="none")
    assert run(host, "pane.list", layout_id=ids("a")[0], container_id="bench-b").items == []
    assert len(run(host, "layout.list").items) == 2


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("app.container.list", "state"),
        ("app.job.list", "state"),
        ("app.job.list", "kind"),
        ("app.agent.list", "origin"),
    ],
)
def test_a_filter_that_is_none_of_its_words_is_told_which_there_are(name: str, field: str) -> None:
    error = refusal(name, {"filters": {field: "bogus"}})
    assert field_of(error) == f"filters.{field}"
    assert "'bogus' is not one of " in error.details["reason"]


def test_an_unknown_filter_is_told_the_filters_there_are() -> None:
    error = refusal("app.container.list", {"filters": {"colour": "red"}})
    assert field_of(error) == "filters.colour"
    assert error.details["reason"] == "there is no such field; there are state"


@pytest.mark.parametrize("number", [0, -1, 2**63, 10**30])
def test_a_job_id_is_one_that_a_job_may_have(number: int) -> None:
    assert field_of(refusal("app.job.detail", {"job_id": number})) == "job_id"
