"""The end of a run, as Redis knows it: the trainer's mark, by which labelers know that they may leave."""

from __future__ import annotations

from xpm_stream.label_queue.trainer_side import TrainerSide


class Finishing(TrainerSide):
    """`finish`: what was drained, and that the trainer left for good, is one atomic step."""

    def finish(self, *, checkpoint: str, step: int, drained: bool) -> bool:
        """Marks the run as finished by this trainer, until another one starts. Repeating it is harmless.

        Args:
            checkpoint: the trainer's last durable one; empty: it never made any.
            step: the optimiser step at which the trainer ends.
            drained: only if every shard is finished (or failed), no label waits and no pattern is watched.

        Returns:
            Whether it is marked: False when something has come in that is to be labelled or trained first.

        Raises:
            EpochFenced: a newer trainer has started.
        """
        keys = self.keys
        marked = self.edge.run(
            "finish",
            keys=[keys.meta, keys.labels, keys.relabels, keys.pending, keys.leases, keys.watched],
            arguments={**self._fence(), "mark": f"{step} {checkpoint}", "drained": drained},
            doing="marking the run as finished",
        )
        return bool(marked)
