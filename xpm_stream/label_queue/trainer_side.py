"""The trainer's half of the queue: epochs, reading, acknowledging, giving back, dead letters.

Every write checks the trainer's epoch inside its script, so a trainer that was only frozen changes nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from xpm_stream.errors import EpochFenced
from xpm_stream.label_queue.deliveries import Delivery, GiveBack
from xpm_stream.label_queue.keys import GROUP, shard_key
from xpm_stream.label_queue.read_reply import deliveries_of
from xpm_stream.label_queue.role import QueueRole

_ACKNOWLEDGE_BATCH = 1000
_MOVE_BATCH = 200


class TrainerSide(QueueRole):
    """Labels are read by the ranks of one trainer at a time, and deleted only once a checkpoint holds them."""

    # -- epochs

    def raise_epoch(self, *, at_least: int = 0) -> int:
        """Makes this trainer the only one that may touch the label stream; older ones get EpochFenced from now on.

        Args:
            at_least: the epoch of the checkpoint, so that a Redis restored from an older copy does not count backwards.

        Returns:
            The new epoch, above both Redis' and `at_least`. Rank 0 calls this; the others `join_epoch` with it.
        """
        name = secrets.token_hex(6)
        epoch = int(
            self.edge.run(
                "raise_epoch",
                keys=[self.keys.labels, self.keys.meta],
                arguments={"group": GROUP, "at_least": at_least, "name": name},
                doing="raising the trainer's epoch",
            )
        )
        self._epoch = (epoch, name)
        self._outstanding.clear()
        return epoch

    def join_epoch(self, epoch: int) -> None:
        """Joins the epoch another rank of this trainer raised.

        Raises:
            EpochFenced: it is over already.
        """
        found, name = self.edge.command(
            "hmget", self.keys.meta, ["epoch", "trainer"], doing="joining the trainer's epoch"
        )
        if found is None or int(found) != epoch:
            raise EpochFenced(f"epoch {epoch} is not the trainer's any more (Redis has {found!r}): start again")
        self._epoch = (epoch, bytes(name).decode("ascii"))
        self._outstanding.clear()

    def _fence(self) -> dict[str, Any]:
        if self._epoch is None:
            raise EpochFenced("this process has no epoch: call raise_epoch (rank 0) or join_epoch (other ranks) first")
        epoch, name = self._epoch
        return {"group": GROUP, "epoch": epoch, "name": name}

    # -- reading

    def read(self, consumer: str, *, count: int, block_ms: int = 0) -> list[Delivery]:
        """Hands out up to `count` labels: first what older epochs left pending, then new ones in order.

        Waits up to `block_ms` when there are none. A delivery lost with a cut connection is handed out by a later read,
        which may then return more than `count`.
        The caller skips (and acknowledges after its next checkpoint) what its trained ledger already holds.

        Raises:
            EpochFenced: a newer trainer has started.
            SchemaTooNew: a newer release wrote one of the labels; all stay in the queue until that release reads them.
        """
        deadline_s = time.monotonic() + block_ms / 1000
        while True:
            found, last_id = self._read_now(consumer, count=count)
            left_ms = round((deadline_s - time.monotonic()) * 1000)
            if found or left_ms <= 0:
                return found
            self._wait_for_entry(last_id, block_ms=min(left_ms, self.edge.block_limit_ms))

    def reclaim(self, consumer: str, *, count: int) -> list[Delivery]:
        """Hands out up to `count` labels that older epochs left pending, and no new ones. `read` does this first."""
        return self._read_now(consumer, count=count, older_only=True)[0]

    def _read_now(self, consumer: str, *, count: int, older_only: bool = False) -> tuple[list[Delivery], bytes]:
        with self._books:
            held = self._outstanding.setdefault(consumer, set())
            reply = self._read_script(consumer, count=count, older_only=older_only)
            found = deliveries_of(reply)
            held.update(delivery.entry_id for delivery in found)
            if int(reply[0]) != len(held):  # entries of ours that a cut connection swallowed, or that somebody removed
                found += self._recover(consumer)
        return found, reply[1]

    def _recover(self, consumer: str) -> list[Delivery]:
        held = self._outstanding[consumer]
        pending: set[str] = set()
        found: list[Delivery] = []
        after = "0-0"
        while deliveries := deliveries_of(self._read_script(consumer, count=500, after=after)):
            after = deliveries[-1].entry_id
            pending.update(delivery.entry_id for delivery in deliveries)
            found += [delivery for delivery in deliveries if delivery.entry_id not in held]
        held.clear()
        held.update(pending)
        return found

    def _read_script(self, consumer: str, *, count: int, older_only: bool = False, after: str | None = None) -> Any:
        return self.edge.run(
            "read",
            keys=[self.keys.labels, self.keys.meta, self.keys.failures],
            arguments={
                **self._fence(),
                "consumer": consumer,
                "count": count,
                "older_only": older_only,
                "after": after,
            },
            doing="reading labels",
        )

    def _wait_for_entry(self, last_id: bytes, *, block_ms: int) -> None:
        self.edge.command(
            "xread", {self.keys.labels: last_id}, count=1, block=max(1, block_ms), doing="waiting for labels"
        )

    # -- after a checkpoint

    def acknowledge(self, deliveries: Iterable[Delivery]) -> int:
        """Deletes labels whose training is in a durable checkpoint. Returns how many were still there.

        Raises:
            EpochFenced: a newer trainer has started.
        """
        entries = [(delivery.entry_id, delivery.size_bytes) for delivery in deliveries]
        return self._acknowledge_entries(entries)

    def _acknowledge_entries(self, entries: Sequence[tuple[str, int]]) -> int:
        deleted = 0
        for first in range(0, len(entries), _ACKNOWLEDGE_BATCH):
            part = entries[first : first + _ACKNOWLEDGE_BATCH]
            with self._books:
                deleted += int(
                    self.edge.run(
                        "acknowledge",
                        keys=[self.keys.labels, self.keys.meta, self.keys.counters, self.keys.failures],
                        arguments={
                            **self._fence(),
                            "ids": [entry_id for entry_id, _ in part],
                            "sizes": [size for _, size in part],
                        },
                        doing="acknowledging labels",
                    )
                )
                self._forget(entry_id for entry_id, _ in part)
        return deleted

    def _forget(self, entry_ids: Iterable[str]) -> None:
        gone = set(entry_ids)
        for held in self._outstanding.values():
            held -= gone

    # -- what is not trained

    def give_back(self, deliveries: Sequence[Delivery], *, reason: str) -> GiveBack:
        """Sends labels back to the labelers (stale teacher, revoked teacher): off the stream, onto the relabel work.

        A sample relabelled `max_relabels` times already stays where it is and is returned as exhausted.

        Raises:
            EpochFenced: a newer trainer has started.
        """
        moved, exhausted = 0, set[str]()
        keys = self.keys
        for first in range(0, len(deliveries), _MOVE_BATCH):
            ids = [delivery.entry_id for delivery in deliveries[first : first + _MOVE_BATCH]]
            with self._books:
                count, refused = self.edge.run(
                    "give_back",
                    keys=[keys.labels, keys.meta, keys.counters, keys.failures, keys.relabels, keys.relabel_queue],
                    arguments={**self._fence(), "ids": ids, "reason": reason, "max_relabels": self.config.max_relabels},
                    doing="giving labels back",
                )
                stay = {bytes(entry_id).decode("ascii") for entry_id in refused}
                self._forget(entry_id for entry_id in ids if entry_id not in stay)
            moved += int(count)
            exhausted |= stay
        kept = tuple(delivery for delivery in deliveries if delivery.entry_id in exhausted)
        return GiveBack(moved=moved, exhausted=kept)

    def fail(self, delivery: Delivery, *, reason: str, detail: str = "") -> Delivery | None:
        """Books a failure of this label; the caller tries the returned delivery again later.

        None: it was the last of `max_attempts` and the label is now a dead letter. Only reported failures count: a
        restarted trainer is handed everything again, and that is nobody's fault.

        Raises:
            EpochFenced: a newer trainer has started.
        """
        if self._bury(delivery, reason=reason, detail=detail, allowed=self.config.max_attempts):
            return None
        return replace(delivery, attempts=delivery.attempts + 1)

    def dead_letter(self, delivery: Delivery, *, reason: str, detail: str = "") -> None:
        """Moves a label from the stream to the dead letters, atomically. Repeating it is harmless.

        Raises:
            EpochFenced: a newer trainer has started.
        """
        self._bury(delivery, reason=reason, detail=detail, allowed=1)

    def _bury(self, delivery: Delivery, *, reason: str, detail: str, allowed: int, attempts: int | None = None) -> bool:
        keys = self.keys
        sample = delivery.sample
        key = "" if sample is None else shard_key(sample)
        with self._books:
            buried = self.edge.run(
                "bury",
                keys=[
                    keys.labels,
                    keys.meta,
                    keys.counters,
                    keys.failures,
                    keys.dead,
                    keys.shards,
                    keys.dead_bits(key or "unknown"),
                ],
                arguments={
                    **self._fence(),
                    "id": delivery.entry_id,
                    "shard": key,
                    "ordinal": -1 if sample is None else sample.ordinal,
                    "reason": reason,
                    "detail": detail[:2000],
                    "allowed": allowed,
                    "attempt": delivery.attempts + 1 if attempts is None else attempts,
                },
                doing="burying a label",
            )
            if buried:
                self._forget([delivery.entry_id])
        return bool(buried)
