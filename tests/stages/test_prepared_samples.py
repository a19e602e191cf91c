"""Samples of real shards made ready to be labelled: usable, skipped or rejected, each with its place."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.images import fetch_image
from xpm_stream.data.shard_urls import look_at_shard
from xpm_stream.errors import DataError, SampleError, ShardError
from xpm_stream.label_queue import Cursor, RelabelWork, ShardRecord
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.records import (
    ImageInline,
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    SampleId,
    ShardId,
    TeacherVersion,
)
from xpm_stream.stages.prepared_samples import PreparedSample, SamplePreparer, ShardEnd, Usable


def _jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _write(path: Path, members: list[tuple[str, bytes]]) -> ShardRecord:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    file = look_at_shard(str(path))
    return ShardRecord(url=file.url, shard_id=file.shard_id, size_bytes=file.size_bytes)


MEMBERS = [
    *[("a.jpg", _jpeg(1)), ("a.txt", b"two dogs and a cat\na dog")],
    *[("b.jpg", _jpeg(2)), ("b.txt", b"very nice indeed")],
    *[("c.jpg", b"no picture"), ("c.txt", b"a dog")],
    *[("d.jpg", _jpeg(4)), ("d.txt", b"a cup on a table")],
]


@pytest.fixture
def shard(tmp_path: Path) -> ShardRecord:
    return _write(tmp_path / "s.tar", MEMBERS)


def _preparer(**settings: object) -> SamplePreparer:
    return SamplePreparer(DataConfig.model_validate(settings), metrics=Metrics("labeler").labeler)


def _work(shard: ShardRecord | None, ordinal: int, *, message: LabelMessage | None = None) -> RelabelWork:
    sample = SampleId(0, ShardId("s"), ordinal)
    return RelabelWork(sample=sample, shard=shard, message=message, relabels=1, reason="stale")


def test_each_sample_is_usable_skipped_or_rejected_and_then_the_shard_ends(shard: ShardRecord) -> None:
    *samples, end = _preparer().prepare(shard, cursor=Cursor())
    outcomes = [sample.outcome for sample in samples if isinstance(sample, PreparedSample)]
    first, second, third, fourth = outcomes
    assert isinstance(first, Usable)
    assert first.words == ["dog", "cat"]
    assert first.captions == ["two dogs and a cat", "a dog"]
    assert first.nouns_per_caption == [2, 1]
    assert first.pixels.shape == (40, 60, 3)
    assert second == "no_nouns"
    assert isinstance(third, SampleError)
    assert third.reason == "image_broken"
    assert isinstance(fourth, Usable)
    assert isinstance(end, ShardEnd)
    assert (end.ordinal, end.damage) == (4, None)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_going_on_from_a_samples_cursor_gives_the_rest(shard: ShardRecord, stop: int) -> None:
    whole = list(_preparer().prepare(shard, cursor=Cursor()))
    rest = list(_preparer().prepare(shard, cursor=whole[stop - 1].cursor))
    assert [item.cursor for item in rest] == [item.cursor for item in whole[stop:]]


def test_a_plain_tars_image_is_referred_to_and_the_reference_holds_it(shard: ShardRecord) -> None:
    first = next(_preparer().prepare(shard, cursor=Cursor()))
    assert isinstance(first, PreparedSample)
    assert isinstance(first.outcome, Usable)
    assert isinstance(first.outcome.payload, ImageReference)
    assert fetch_image(first.outcome.payload) == MEMBERS[0][1]


@pytest.mark.parametrize(("name", "payload"), [("s.tar", "inline"), ("s.tar.gz", "auto")])
def test_an_image_travels_in_the_message_where_asked_or_where_nothing_can_be_referred_to(
    tmp_path: Path, name: str, payload: str
) -> None:
    first = next(_preparer(payload=payload).prepare(_write(tmp_path / name, MEMBERS), cursor=Cursor()))
    assert isinstance(first, PreparedSample)
    assert isinstance(first.outcome, Usable)
    assert first.outcome.payload == ImageInline(data=MEMBERS[0][1])


def test_references_into_a_compressed_shard_are_refused_with_the_way_out(tmp_path: Path) -> None:
    samples = _preparer(payload="reference").prepare(_write(tmp_path / "s.tar.gz", MEMBERS), cursor=Cursor())
    with pytest.raises(ShardError, match=r"data\.payload: auto or inline"):
        next(samples)


def test_a_cut_shard_ends_where_it_was_cut_with_the_reason(tmp_path: Path, shard: ShardRecord) -> None:
    whole = (tmp_path / "s.tar").read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: whole.index(b"d.jpg") + 600])
    record = ShardRecord(url=f"file://{cut}", shard_id=ShardId("c"), size_bytes=1)
    *samples, end = _preparer().prepare(record, cursor=Cursor())
    assert len(samples) == 3
    assert isinstance(end, ShardEnd)
    assert end.ordinal == 3
    assert end.damage is not None
    assert end.damage.startswith("truncated: ")


def test_a_sample_is_relabelled_from_its_old_label(shard: ShardRecord) -> None:
    preparer = _preparer()
    first = next(preparer.prepare(shard, cursor=Cursor()))
    assert isinstance(first, PreparedSample)
    usable = first.outcome
    assert isinstance(usable, Usable)
    old = LabelMessage(
        method="xpm",
        sample=SampleId(0, ShardId("s"), 0),
        teacher=TeacherVersion(1, 0, 0),
        image=usable.payload,
        image_size_wh=(60, 40),
        words=usable.words,
        annotation=InstanceAnnotation(instances=[]),
        labelled_at_s=1.0,
        nouns_per_caption=[2, 1],
    )
    again = preparer.prepare_again(_work(shard, 0, message=old))
    assert isinstance(again, Usable)
    assert (again.words, again.payload) == (usable.words, usable.payload)
    assert again.nouns_per_caption == [2, 1]
    np.testing.assert_array_equal(again.pixels, usable.pixels)
    Path(shard.url.removeprefix("file://")).unlink()
    gone = preparer.prepare_again(_work(shard, 0, message=old))
    assert isinstance(gone, DataError), "to be tried again: the store may come back"
    assert not isinstance(gone, SampleError)


@pytest.mark.parametrize(
    ("ordinal", "outcome"), [(3, "usable"), (1, "no_nouns"), (2, "image_broken"), (9, "sample_gone")]
)
def test_a_sample_whose_label_is_lost_is_read_from_its_shard_again(
    shard: ShardRecord, ordinal: int, outcome: str
) -> None:
    again = _preparer().prepare_again(_work(shard, ordinal))
    found = again.reason if isinstance(again, SampleError) else again
    assert (found if isinstance(found, str) else "usable") == outcome


def test_a_sample_whose_label_is_lost_is_not_taken_from_a_shard_that_was_rewritten(
    tmp_path: Path, shard: ShardRecord
) -> None:
    _write(tmp_path / "s.tar", MEMBERS[6:])
    again = _preparer().prepare_again(_work(shard, 0))
    assert isinstance(again, SampleError)
    assert again.reason == "shard_changed"


def test_lost_labels_of_unknown_shards_have_a_reason_and_those_of_vanished_ones_wait(tmp_path: Path) -> None:
    unknown = _preparer().prepare_again(_work(None, 0))
    vanished = ShardRecord(url=f"file://{tmp_path}/none.tar", shard_id=ShardId("n"), size_bytes=1)
    missing = _preparer().prepare_again(_work(vanished, 0))
    assert isinstance(unknown, SampleError)
    assert unknown.reason == "shard_unknown"
    assert isinstance(missing, ShardError)


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz"])
def test_a_sample_is_passed_over_by_the_headers_to_where_reading_it_would_lead(tmp_path: Path, name: str) -> None:
    shard = _write(tmp_path / name, MEMBERS)
    *samples, end = _preparer().prepare(shard, cursor=Cursor())
    for before, sample in zip([Cursor(), *(one.cursor for one in samples)], samples, strict=False):
        passed = _preparer().pass_over(shard, cursor=before)
        assert isinstance(passed, PreparedSample)
        assert (passed.cursor, passed.offset) == (sample.cursor, before.byte_offset)
        assert isinstance(passed.outcome, SampleError)
        assert passed.outcome.reason == "kills_labeler"
    assert _preparer().pass_over(shard, cursor=end.cursor) == end


def test_a_sample_cut_off_is_passed_over_with_the_damage_of_its_shard(tmp_path: Path, shard: ShardRecord) -> None:
    *_, last, _ = _preparer().prepare(shard, cursor=Cursor())
    assert isinstance(last, PreparedSample)
    whole = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[: last.offset + 600])
    end = _preparer().pass_over(shard, cursor=Cursor(last.ordinal, last.offset))
    assert isinstance(end, ShardEnd)
    assert (end.ordinal, (end.damage or "").partition(":")[0]) == (3, "truncated")
