"""How often the periodic tasks are due."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tasks.periodic import every


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, 1), (60, 1), (100, 2), (120, 2), (420, 7), (3600, 60), (5400, 90), (86400, 1440)]
)
def test_a_pace_is_kept_over_hours_and_days(seconds: float, minutes: int) -> None:
    start = datetime(2026, 3, 1, 0, 0, 30)
    due = [now for n in range(4 * 1440) if every(seconds)(now := start + timedelta(minutes=n))]
    assert {later - earlier for earlier, later in pairwise(due)} == {timedelta(minutes=minutes)}
