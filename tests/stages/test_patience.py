"""An outage of a store is outlived by waiting longer each time."""

from __future__ import annotations

import pytest

from xpm_stream.config.queue_sections import QueueConfig
from xpm_stream.stages.patience import waits_s


@pytest.mark.parametrize("attempts", [2, 3, 5, 20])
def test_the_waits_between_all_attempts_take_the_patience_the_last_most_of_it(attempts: int) -> None:
    waits = waits_s(QueueConfig(max_attempts=attempts, store_patience_s=240.0))
    assert len(waits) == attempts - 1
    assert sum(waits) == pytest.approx(240.0)
    assert waits == sorted(waits)
    assert waits[-1] >= 0.9 * 240


def test_by_default_an_outage_of_five_minutes_is_outlived() -> None:
    assert sum(waits_s(QueueConfig())) >= 300
    assert waits_s(QueueConfig())[0] < 30, "a hiccup costs less"


def test_who_tries_once_does_not_wait() -> None:
    assert waits_s(QueueConfig(max_attempts=1)) == []
