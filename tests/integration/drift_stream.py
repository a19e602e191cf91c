"""A label stream drawn from a simple model, put on a real Redis as labelers do, and acknowledged as a trainer does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from benchmarks.drift_labels import LabelModel
from xpm_stream.label_queue import CommitBatch, Cursor, EncodedLabel, LabelQueue, ShardRecord, encode
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.records import (
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)

_BATCH = 50
_SIDE = 1000


class DriftStream:
    """Labeler and trainer of one shard."""

    def __init__(self, queue: LabelQueue) -> None:
        self.queue = queue
        queue.add_shards([ShardRecord(url="file:///shards/a.tar", shard_id=ShardId("a"), size_bytes=10_240)])
        lease = queue.acquire("labeler")
        assert lease is not None
        self._lease = lease
        self._seeds = itertools.count()
        self.put = 0
        queue.raise_epoch()

    def draw(self, labels: int, model: LabelModel | None = None) -> list[LabelMeasures]:
        """Draw labels nobody drew before."""
        return (model or LabelModel()).draw(labels, np.random.default_rng((7, next(self._seeds))))

    def commit(self, labels: Sequence[LabelMeasures], *, teacher: int = 1) -> None:
        """Put labels on the stream."""
        for first in range(0, len(labels), _BATCH):
            part = labels[first : first + _BATCH]
            start = self._lease.cursor.ordinal
            encoded = [
                EncodedLabel(sample=sample, data=encode(message(label, sample, teacher)))
                for number, label in enumerate(part)
                for sample in [SampleId(0, ShardId("a"), start + number)]
            ]
            end = start + len(part)
            self._lease = self.queue.commit(self._lease, CommitBatch(cursor=Cursor(end, end * 512), labels=encoded))
        self.put += len(labels)

    def acknowledge(self, labels: int) -> None:
        """Delete the oldest labels, as trained."""
        self.queue.acknowledge(self.queue.read("rank0", count=labels))


def message(label: LabelMeasures, sample: SampleId, teacher: int) -> LabelMessage:
    """Return the label message that has these measures."""
    return LabelMessage(
        method="xpm",
        sample=sample,
        teacher=TeacherVersion(teacher, 1, 0),
        image=ImageReference("file:///shards/a.tar", 512, 1000, 1),
        image_size_wh=(_SIDE, _SIDE),
        words=list(label.words),
        annotation=InstanceAnnotation(
            instances=[
                PseudoInstance(
                    word=word,
                    box_xyxy=(0.0, 0.0, _SIDE * math.sqrt(area), _SIDE * math.sqrt(area)),
                    mask_bits=bytes(98),
                    score=score,
                    reliability=reliability,
                )
                for word, area, score, reliability in zip(
                    label.words, label.box_area_shares, label.scores, label.reliabilities, strict=True
                )
            ]
        ),
        labelled_at_s=1.7e9,
        nouns_per_caption=list(label.nouns_per_caption),
    )
