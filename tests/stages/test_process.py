"""A role's process: told to stop at any moment, and it does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from xpm_stream.config.loading import parse_config
from xpm_stream.monitoring.metrics import Role as Kind
from xpm_stream.monitoring.serving import read_endpoints
from xpm_stream.stages.process import role_process


def test_a_signal_that_interrupts_the_main_thread_inside_stop_itself_does_not_hang_it(tmp_path: Path) -> None:
    config = parse_config({"folder": str(tmp_path), "metrics": {"enabled": False}}, source="test")
    with role_process("trainer", kind="trainer", config=config) as role:
        with role.stop._cond:  # where stop.wait() is interrupted, now and then
            os.kill(os.getpid(), signal.SIGTERM)
        assert role.stop.wait(10)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    config = parse_config({"folder": str(tmp_path), "metrics": {"enabled": False}}, source="test")
    with role_process("trainer", kind="trainer", config=config) as role:
        os.kill(os.getpid(), signal.SIGINT)
        assert role.stop.wait(10)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [("labeler-1", "labeler", "labeler"), ("teacher", "trainer", "teacher"), ("pretrainer-1", "trainer", "pretrainer")],
)
def test_an_endpoint_says_what_its_process_is_though_its_metrics_are_a_trainers(
    tmp_path: Path, name: str, kind: Kind, shown: str
) -> None:
    config = parse_config({"folder": str(tmp_path), "metrics": {"port": 0}}, source="test")
    with role_process(name, kind=kind, config=config):
        assert [endpoint.role for endpoint in read_endpoints(tmp_path)] == [shown]
