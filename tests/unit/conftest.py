"""A database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tower import config, models
from tower.config import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings over a temporary folder, with the state database in use by this process."""
    made = config.load({"HOME": str(tmp_path), "TOWER_STATE_DIR": str(tmp_path / "s")})
    config.make_state_dirs(made)
    models.use(made)
    try:
        yield made
    finally:
        models.db.close()
