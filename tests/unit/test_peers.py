"""Which container a cgroup shows, for every maker of cgroups that the tower claims to know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tower.benches.peers import _alive, containers_in, only_bench
from tower.errors import HostOnly

A, B, C = "a" * 64, "b" * 64, "c" * 64
HOST_V1 = "12:pids:/user.slice/user-1000.slice\n1:name=systemd:/user.slice/user-1000.slice/session-2.scope\n0::/\n"
HOST_V2 = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/tower.scope\n"


def v1(path: str) -> str:
    """A cgroup v1 file of a process that is in ``path`` of every hierarchy but the unified one."""
    names = ("pids", "memory", "cpu,cpuacct", "name=systemd")
    return "".join(f"{9 - n}:{name}:{path}\n" for n, name in enumerate(names)) + "0::/\n"


@pytest.mark.parametrize(
    "cgroup",
    [
        v1(f"/docker/{A}"),
        v1(f"/system.slice/docker-{A}.scope"),
        f"0::/docker/{A}\n",
        f"0::/system.slice/docker-{A}.scope\n",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope\n",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container\n",
        f"0::/machine.slice/libpod-{A}.scope\n",
        f"0::/libpod_parent/libpod-{A}\n",
        f"0::/docker/{A}/init.scope\n",
        f"0::/../docker-{A}.scope\n",
        f"0::/custom/parent/{A}\n",
        f"0::/docker/buildx/docker-{A}.scope\n",
        f"0::/machine.slice/machine-libpod_pod_{C}.slice/libpod-{A}.scope\n",
        f"0::/machine.slice/machine-libpod_pod_{C}.slice/libpod-{A}.scope/container\n",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{C}.slice/libpod-{A}.scope\n",
        f"0::/libpod_parent/{C}/libpod-{A}\n",
        v1(f"/libpod_parent/{C}/libpod-{A}"),
    ],
)
def test_a_container_is_found_in_every_form(cgroup: str) -> None:
    found = containers_in(cgroup, HOST_V2)
    assert found == {(A,)}
    assert only_bench(found, {A, B}) == A


@pytest.mark.parametrize("own", [HOST_V1, HOST_V2, "0::/\n", ""])
@pytest.mark.parametrize("cgroup", [HOST_V1, HOST_V2, "0::/\n", "0::/system.slice/docker.service\n", ""])
def test_a_process_of_the_host_is_in_no_container(cgroup: str, own: str) -> None:
    assert containers_in(cgroup, own) == frozenset()


@pytest.mark.parametrize("own", [v1(f"/docker/{C}"), v1(f"/system.slice/docker-{C}.scope")])
def test_the_servers_own_container_counts_as_the_host(own: str) -> None:
    assert containers_in(own, own) == frozenset()


def test_a_container_inside_the_servers_own_is_that_container() -> None:
    found = containers_in(v1(f"/docker/{C}/docker/{A}"), v1(f"/docker/{C}"))
    assert only_bench(found, {A}) == A


def test_a_sibling_of_the_servers_container_is_that_sibling() -> None:
    assert only_bench(containers_in(v1(f"/docker/{A}"), v1(f"/docker/{C}")), {A}) == A


@pytest.mark.parametrize(
    "cgroup",
    [
        v1(f"/docker/{C}"),  # no bench at all
        v1(f"/docker/{C}/docker/{A}"),  # a stranger's container that calls a part of itself as a bench
        v1(f"/docker/{A}/docker/{B}"),  # a bench that calls a part of itself as another bench
        v1(f"/docker/{A}") + f"3:freezer:/docker/{B}\n",  # two at once
        v1(f"/docker/{A}") + f"3:freezer:/docker/{C}\n",
        "0::/lxc.payload.box/user.slice\n",
        "0::/lxc/box\n",
        "0::/machine.slice/machine-box.scope\n",
        f"0::/kubepods/burstable/pod12/{A}\n",
        f"0::/machine.slice/libpod-{C}.scope\n",
        f"0::/machine.slice/machine-libpod_pod_{A}.slice/libpod-{C}.scope\n",  # a pod is no bench
        f"0::/machine.slice/machine-libpod_pod_{C}.slice\n",  # and what is in a pod is in a container of it
        f"0::/libpod_parent/{C}\n",
        f"0::/machine.slice/libpod-{C}.scope/machine-libpod_pod_{B}.slice/libpod-{A}.scope\n",
        f"0::/libpod-{C}/libpod_parent/{B}/libpod-{A}\n",
    ],
)
def test_what_is_not_exactly_one_bench_is_refused(cgroup: str) -> None:
    with pytest.raises(HostOnly):
        only_bench(containers_in(cgroup, HOST_V2), {A, B})


def test_a_container_inside_a_bench_is_the_benchs() -> None:
    assert only_bench(containers_in(v1(f"/docker/{A}/docker/{C}"), HOST_V1), {A, B}) == A


@given(st.text())
def test_no_text_is_taken_for_a_bench_that_it_does_not_name(text: str) -> None:
    for chain in containers_in(text, HOST_V1):
        assert A not in chain


@pytest.mark.parametrize(
    ("stat", "alive"),
    [
        ("7 (sh) S 1 7 7 0 -1 4194304 0", True),
        ("7 (a ) Z 1) R 1 7 7 0 -1 4194304 0", True),
        ("7 (sh) Z 1 7 7 0 -1 4194304 0", False),
        ("7 (sh) X 1 7 7 0 -1 4194304 0", False),
        ("7 (sh) S 1 7 7 0 -1 4194308 0", False),
    ],
)
def test_a_process_on_its_way_out_is_not_alive(stat: str, alive: bool) -> None:
    assert _alive(stat) is alive
