"""Bringing Redis in line with the checkpoint that a trainer starts from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from xpm_stream.label_queue.audit import missing_ordinals
from xpm_stream.label_queue.auditing import Auditing
from xpm_stream.label_queue.deliveries import Settlement
from xpm_stream.label_queue.trained import TrainedLedger
from xpm_stream.label_queue.trials import Trials
from xpm_stream.records import SampleId

_SAMPLES_AT_ONCE = 200  # of one script, so that Redis is kept from others for a few milliseconds only


class Settling(Trials, Auditing):
    """`settle`: page by page, so that neither Redis nor the trainer ever holds all of it at once."""

    def settle(self, trained: TrainedLedger) -> Settlement:
        """Brings Redis in line with the checkpoint a trainer starts from. Rank 0 calls it after `raise_epoch`.

        Labels the checkpoint has trained are acknowledged, delivered or not (Redis is older than the checkpoint).
        Committed samples that are neither trained, queued, skipped nor dead become relabel work (the checkpoint is
        older than what was acknowledged, so they are not lost with the newer one); each costs Redis about 300 bytes.

        Raises:
            EpochFenced: a newer trainer has started.
        """
        acknowledged = returned = 0
        settled = False
        while not settled:
            snapshot = self._snapshot()
            acknowledged += self._acknowledge_entries(
                [
                    (entry.entry_id, entry.size_bytes)
                    for entry in snapshot.entries
                    if entry.sample is not None and entry.sample in trained
                ]
            )
            acknowledged += self._drop_relabels(sample for sample in snapshot.relabels if sample in trained)
            lost = (
                record.sample(ordinal)
                for place in self._places(snapshot)
                for record in (place.row.record,)
                for ordinal in missing_ordinals(place, trained.ordinals(record.pass_index, record.shard_id))
            )
            settled = True
            for samples in _in_parts(lost):
                added = self._requeue(samples, moves=snapshot.moves)
                if added < 0:  # an operator replayed dead letters meanwhile: look again where everything is
                    settled = False
                    break
                returned += added
        return Settlement(acknowledged=acknowledged, returned=returned)

    def _drop_relabels(self, samples: Iterable[SampleId]) -> int:
        keys = self.keys
        names = [
            keys.meta,
            keys.counters,
            keys.relabels,
            keys.relabel_queue,
            keys.relabel_leases,
            keys.relabel_troubles,
        ]
        dropped = 0
        for part in _in_parts(iter(samples)):
            arguments = {**self._fence(), "samples": part}
            dropped += int(
                self.edge.run("drop_relabels", keys=names, arguments=arguments, doing="dropping trained relabel work")
            )
        return dropped

    def _requeue(self, samples: list[str], *, moves: bytes | None) -> int:
        keys = self.keys
        return int(
            self.edge.run(
                "requeue",
                keys=[keys.meta, keys.counters, keys.relabels, keys.relabel_queue],
                arguments={
                    **self._fence(),
                    "samples": samples,
                    "reason": "not_in_checkpoint",
                    "moves": (moves or b"").decode("ascii"),
                },
                doing="returning samples to the labelers",
            )
        )


def _in_parts(samples: Iterator[SampleId]) -> Iterator[list[str]]:
    while part := [str(sample) for sample in islice(samples, _SAMPLES_AT_ONCE)]:
        yield part
