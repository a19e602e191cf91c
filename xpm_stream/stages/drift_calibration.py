"""Thresholds of a drift reference, computed in a process of its own: it takes from seconds to minutes of one core.

`python -m xpm_stream.stages.drift_calibration PARENT` reads a `CalibrationTask` from its standard input and writes the
thresholds to its standard output. It gives way to the roles (nice), and ends with its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import Final

import msgspec

from xpm_stream.config.monitor_sections import DriftConfig
from xpm_stream.errors import ConfigError, XpmStreamError
from xpm_stream.monitoring.drift_reference import DriftReference, decode_reference, encode_reference
from xpm_stream.monitoring.drift_samples import enough_of
from xpm_stream.monitoring.drift_thresholds import DriftThresholds, calibrate, decode_thresholds
from xpm_stream.monitoring.drift_windows import WindowLimits
from xpm_stream.stages.parent import end_with_parent

_NICE: Final = 10


class CalibrationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What thresholds depend on beside the reference."""

    limits: WindowLimits
    false_alarm_windows: float
    block_labels: int

    @classmethod
    def of(cls, config: DriftConfig) -> CalibrationSettings:
        """Return those of a configuration.

        Raises:
            ConfigError: no window could keep its limits.
        """
        limits = WindowLimits(
            max_labels=config.window_labels, max_seconds=config.window_s, min_labels=config.min_window_labels
        )
        return cls(limits=limits, false_alarm_windows=config.false_alarm_windows, block_labels=config.block_labels)

    def made(self, thresholds: DriftThresholds, reference: DriftReference) -> bool:
        """Whether these settings and this reference are what the thresholds were made of."""
        return (
            thresholds.bins_id == reference.bins_id
            and thresholds.false_alarm_windows == self.false_alarm_windows
            and thresholds.block_labels == self.block_labels
            and (thresholds.window_labels[0], thresholds.window_labels[-1])
            == (self.limits.min_labels, self.limits.max_labels)
        )


def checked_settings(config: DriftConfig) -> CalibrationSettings:
    """Return what thresholds depend on.

    Raises:
        ConfigError: windows or references that cannot be.
    """
    settings = CalibrationSettings.of(config)
    fewest = enough_of(config.reference_labels)
    if config.block_labels > fewest:
        raise ConfigError(
            f"drift.block_labels is {config.block_labels}, but a reference may have only {fewest} labels (half of "
            "drift.reference_labels, where the teacher changes early): take several blocks to a reference"
        )
    return settings


class CalibrationTask(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is given."""

    reference: bytes  # as `encode_reference` writes it
    settings: CalibrationSettings


class Calibration:
    """The process that calibrates one reference."""

    def __init__(self, reference: DriftReference, settings: CalibrationSettings) -> None:
        self.reference = reference
        task = CalibrationTask(reference=encode_reference(reference), settings=settings)
        # Files without a name: nothing of them stays behind, however this process ends.
        with ExitStack() as stack:
            self._answer = stack.enter_context(tempfile.TemporaryFile())
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            given = stack.enter_context(tempfile.TemporaryFile())
            given.write(msgspec.json.encode(task))
            given.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "xpm_stream.stages.drift_calibration", str(os.getpid())],
                stdin=given,
                stdout=self._answer,
                stderr=self._errors,
            )
            self._files = stack.pop_all()

    def poll(self) -> DriftThresholds | None:
        """Return the thresholds once they are there.

        Raises:
            XpmStreamError: the process failed.
        """
        status = self._process.poll()
        if status is None:
            return None
        if status != 0:
            self._errors.seek(0)
            lines = self._errors.read().decode("utf-8", errors="replace").strip().splitlines()
            raise XpmStreamError(
                f"calibrating the drift reference `{self.reference.name}` ended with status {status}: "
                f"{lines[-1] if lines else 'it said nothing'}"
            )
        self._answer.seek(0)
        return decode_thresholds(self._answer.read())

    def close(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._files.close()


def main() -> None:
    """Calibrate, in the process made for it."""
    end_with_parent(int(sys.argv[1]))
    os.nice(_NICE)
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=CalibrationTask)
    settings = task.settings
    thresholds = calibrate(
        decode_reference(task.reference),
        settings.limits,
        false_alarm_windows=settings.false_alarm_windows,
        block_labels=settings.block_labels,
    )
    sys.stdout.buffer.write(msgspec.json.encode(thresholds))


if __name__ == "__main__":
    main()
