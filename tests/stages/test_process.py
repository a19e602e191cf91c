"""A role's process: told to stop at any moment, and it does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from xpm_stream.config.loading import parse_config
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
