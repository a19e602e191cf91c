"""A reference calibrated in a process of its own: the same thresholds, a clear error, and an end with who wanted it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import psutil
import pytest
from redis_servers import until

from benchmarks.drift_labels import LabelModel
from xpm_stream.config.monitor_sections import DriftConfig
from xpm_stream.errors import XpmStreamError
from xpm_stream.monitoring.drift_reference import DriftReference, build_reference
from xpm_stream.monitoring.drift_thresholds import calibrate
from xpm_stream.stages.drift_calibration import Calibration, CalibrationSettings

CONFIG = DriftConfig(
    window_labels=60, min_window_labels=60, false_alarm_windows=5, block_labels=2, reference_labels=300
)
SETTINGS = CalibrationSettings.of(CONFIG)


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    return build_reference(LabelModel().draw(300, np.random.default_rng(0)), name="frozen", teacher="v1")


@pytest.fixture
def calibration(reference: DriftReference) -> Iterator[Calibration]:
    made = Calibration(reference, SETTINGS)
    yield made
    made.close()


def test_thresholds_are_those_of_the_settings(calibration: Calibration, reference: DriftReference) -> None:
    found = until(calibration.poll, what="thresholds", within_s=120)
    assert found == calibrate(reference, SETTINGS.limits, false_alarm_windows=5, block_labels=2)
    assert SETTINGS.made(found, reference)
    for other in ({"window_labels": 80}, {"min_window_labels": 50}, {"false_alarm_windows": 6}, {"block_labels": 1}):
        assert not CalibrationSettings.of(CONFIG.model_copy(update=other)).made(found, reference)
    another = build_reference(LabelModel().draw(300, np.random.default_rng(1)), name="frozen", teacher="v1")
    assert not SETTINGS.made(found, another)


def test_its_failure_is_an_error_that_says_why(reference: DriftReference) -> None:
    made = Calibration(reference, msgspec.structs.replace(SETTINGS, block_labels=1000))
    try:
        with pytest.raises(
            XpmStreamError, match=r"calibrating .*`frozen` ended with status 1: .*blocks of 1000 labels"
        ):
            until(made.poll, what="failing", within_s=120)
    finally:
        made.close()


def test_closing_it_ends_its_process(reference: DriftReference) -> None:
    made = Calibration(reference, msgspec.structs.replace(SETTINGS, false_alarm_windows=1e6))
    (child,) = [one for one in psutil.Process().children() if "drift_calibration" in " ".join(one.cmdline())]
    made.close()
    assert not child.is_running()
