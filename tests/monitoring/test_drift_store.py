"""What the drift monitor keeps in the registry: numbered, never overwritten, the oldest windows going."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import msgspec
import numpy as np
import pytest
from drift_examples import labels, reference, window

from xpm_stream.errors import DataError, RegistryError
from xpm_stream.monitoring.canary_labels import CanaryLabels, encode_canary_labels
from xpm_stream.monitoring.drift_records import decode_window, encode_window
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.monitoring.drift_thresholds import calibrate
from xpm_stream.monitoring.drift_windows import WindowLimits
from xpm_stream.registry.store import Store, open_store

LIMITS = WindowLimits(max_labels=50, max_seconds=60.0, min_labels=50)


@pytest.fixture(params=["local", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield open_store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")
    fsspec.filesystem("memory").store.clear()


def test_a_window_record_comes_back_as_it_went() -> None:
    record = window(3, brake=True, brake_since_s=1.0, brake_reasons=["word"], cause="data")
    assert decode_window(encode_window(record)) == record


def test_a_record_of_a_newer_release_is_refused() -> None:
    with pytest.raises(DataError, match="drift window has schema 2"):
        decode_window(msgspec.json.encode(msgspec.structs.replace(window(1), schema_version=2)))


def test_windows_are_kept_in_order_and_the_oldest_go(files: Store) -> None:
    store, reader = DriftStore(files), DriftStore(files)
    assert reader.newest_window() is None
    assert reader.windows() == []
    for number in range(1, 4):
        store.add_window(window(number), keep=3)
    assert reader.newest_window() == window(3)
    for number in range(4, 10):
        DriftStore(files).add_window(window(number), keep=3)  # after a restart, too
    assert files.names("drift/windows") == ["00000007.json", "00000008.json", "00000009.json"]
    assert reader.newest_window() == window(9), "the one it knew is gone"
    assert reader.windows() == [window(7), window(8), window(9)]
    assert reader.windows(most=2) == [window(8), window(9)]
    store.add_window(window(10), keep=1)
    assert reader.windows() == [window(10)]


def test_of_two_monitors_one_writes_a_window_and_the_other_is_told(files: Store) -> None:
    first, second = DriftStore(files), DriftStore(files)
    first.add_window(window(1), keep=9)
    with pytest.raises(RegistryError, match=r"another drift monitor wrote drift/windows/00000001\.json .*one monitor"):
        second.add_window(window(1, labels_seen=11), keep=9)
    assert first.windows() == [window(1)]


def test_a_damaged_record_is_named(files: Store) -> None:
    files.create("drift/windows/00000001.json", b"{")
    with pytest.raises(RegistryError, match=r"drift/windows/00000001\.json in .*no drift window"):
        DriftStore(files).newest_window()


def test_the_newest_reference_of_a_name_counts_and_only_frozen_ones_stay(files: Store) -> None:
    store = DriftStore(files)
    assert store.reference("frozen") is None
    for seed in range(4):
        for name in ("frozen", "previous_teacher"):
            store.add_reference(reference(name=name, teacher=f"v{seed}", seed=seed))
    found = DriftStore(files).reference("previous_teacher")
    assert found is not None
    assert (found.name, found.teacher) == ("previous_teacher", "v3")
    np.testing.assert_array_equal(found.label_counts, reference(name="previous_teacher", seed=3).label_counts)
    numbers = [name.removesuffix(".json").rpartition("-") for name in files.names("drift/references")]
    assert [int(number) for name, _, number in numbers if name == "frozen"] == [1, 2, 3, 4]
    assert [int(number) for name, _, number in numbers if name == "previous_teacher"] == [3, 4]


def test_thresholds_come_back(files: Store) -> None:
    store = DriftStore(files)
    assert store.thresholds("frozen") is None
    made = [calibrate(reference(seed=seed), LIMITS, false_alarm_windows=2) for seed in range(3)]
    for thresholds in made:
        store.add_thresholds("frozen", thresholds)
    assert DriftStore(files).thresholds("frozen") == made[2]
    assert len(files.names("drift/thresholds")) == 2


def test_canary_labels_are_read_where_the_promoter_writes_them(files: Store) -> None:
    store = DriftStore(files)
    assert store.canary_labels("candidate-e1-s100") is None
    written = CanaryLabels(checkpoint="candidate-e1-s100", canary_id="c", images=labels(5))
    files.create("drift/canary/labels/candidate-e1-s100.json", encode_canary_labels(written))
    found = store.canary_labels("candidate-e1-s100")
    assert found is not None
    assert (found.checkpoint, found.canary_id, len(found.images)) == ("candidate-e1-s100", "c", 5)
    assert [list(one.scores) for one in found.images] == [list(one.scores) for one in written.images]
