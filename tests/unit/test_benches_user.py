"""Whose tmux server is meant in a container."""

import json
from typing import Any

import pytest

from tower.benches.docker import bench_user

META = json.dumps([{"remoteUser": "vscode"}, {"id": "x"}, {"remoteUser": "node"}])


@pytest.mark.parametrize(
    ("config", "configured", "user"),
    [
        ({}, None, "root"),
        ({"User": ""}, None, "root"),
        ({"User": "1000"}, None, "1000"),
        ({"User": "dev:dev"}, None, "dev:dev"),
        ({"User": "1000"}, "ops", "ops"),
        ({"User": "1000", "Labels": {"devcontainer.metadata": META}}, "ops", "node"),
        ({"Labels": {"devcontainer.metadata": '{"remoteUser": "one"}'}}, None, "one"),
        ({"Labels": {"devcontainer.metadata": META, "tower.user": "me"}}, "ops", "me"),
        ({"Labels": {"devcontainer.metadata": "not json"}}, "ops", "ops"),
        ({"Labels": {"devcontainer.metadata": "[1, null, {}]"}}, None, "root"),
        ({"Labels": {"devcontainer.metadata": '[{"remoteUser": 7}]'}, "User": "dev"}, None, "dev"),
        ({"Labels": None}, None, "root"),
    ],
)
def test_label_then_devcontainer_then_config_then_container(
    config: dict[str, Any], configured: str | None, user: str
) -> None:
    assert bench_user(config, configured) == user
