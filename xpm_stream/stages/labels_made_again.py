"""The labels of shards, made again by one teacher without a queue: as a labeler makes them, in the same batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Final

from xpm_stream.data.shard_urls import ShardFile
from xpm_stream.errors import SampleError, ShardError
from xpm_stream.label_queue import Cursor, ShardRecord, decode
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.records import ImageInline
from xpm_stream.stages.annotator import caption_images, labels_of
from xpm_stream.stages.exported_labels import ExportTally, LabelledSample
from xpm_stream.stages.fixed_teacher import FixedTeacher
from xpm_stream.stages.labeling import MOST_SAMPLES_PER_COMMIT, batched_for_commit
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.prepared_samples import Prepared, PreparedSample, SamplePreparer, ShardEnd, Usable

_DEPTH: Final = 2  # batches that the shard reader is ahead


def labels_made_again(
    teacher: FixedTeacher,
    shards: Sequence[ShardFile],
    *,
    tally: ExportTally,
    on_batch: Callable[[int], None],
) -> Generator[LabelledSample]:
    """Yield the labels of shards in order, one batch in memory at a time; count what cannot be labelled by reason.

    Args:
        teacher: who labels.
        shards: read in this order, each from its start.
        tally: where the counts go.
        on_batch: called after each batch with how many shards are done.
    """
    config = teacher.config
    # The images are written out again: they must be at hand, wherever a label of the run would refer to them.
    data = config.data.model_copy(update={"payload": "inline"})
    preparer = SamplePreparer(data, metrics=Metrics("labeler").labeler)
    usable = config.labeler.batch_images
    for done, shard in enumerate(shards):
        on_batch(done)
        record = ShardRecord(url=shard.url, shard_id=shard.shard_id, size_bytes=shard.size_bytes)
        produce = partial(preparer.prepare, record, cursor=Cursor())
        tally.shards += 1
        try:
            with Prefetched(produce, depth=_DEPTH * usable, name="shard reader") as prepared:
                for batch in batched_for_commit(prepared, usable=usable, most=MOST_SAMPLES_PER_COMMIT):
                    yield from _labelled(teacher, batch, record=record, tally=tally)
                    on_batch(done)
        except ShardError as error:
            tally.note_problem(str(error))
    on_batch(len(shards))


def _labelled(
    teacher: FixedTeacher, batch: Sequence[Prepared], *, record: ShardRecord, tally: ExportTally
) -> Generator[LabelledSample]:
    samples = []
    for item in batch:
        match item:
            case ShardEnd(damage=damage):
                if damage is not None:
                    tally.note_problem(f"{record.url} ends at sample {item.ordinal}: {damage}")
            case PreparedSample(outcome=Usable() as outcome):
                samples.append((record.sample(item.ordinal), outcome))
            case PreparedSample(outcome=SampleError() as error):
                tally.left_out[error.reason] += 1
            case PreparedSample(outcome=str() as reason):
                tally.left_out[reason] += 1
    annotations = teacher.label(caption_images(samples))
    labels = labels_of(samples, annotations, method=teacher.config.method, teacher=teacher.version)
    for error in labels.refused.values():
        tally.left_out[error.reason] += 1
    usable_of = dict(samples)
    for label in labels.encoded:
        message = decode(label.data)  # as its readers have it: reliability in single precision
        usable = usable_of[message.sample]
        assert isinstance(usable.payload, ImageInline)
        yield LabelledSample(
            message=message,
            image=usable.payload.data,
            captions=usable.captions,
            shard_url=record.url,
            checkpoint=teacher.checkpoint,
            revoked=teacher.revoked,
        )
