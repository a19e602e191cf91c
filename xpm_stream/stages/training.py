"""The streaming student: trains on labels and base images, checkpoints, then acknowledges, and proposes teachers."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.label_queue import LabelQueue
from xpm_stream.methods import require_labeler
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.devices import choose_device, seed_torch
from xpm_stream.stages.durability import Durability
from xpm_stream.stages.label_feed import LabelFeed, Starved, TrainingItem
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.process import Role, Starting, open_queue, role_process
from xpm_stream.stages.ranks import Ranks, joined_ranks, rank_of_process
from xpm_stream.stages.replay import NOTHING, Replay, Replayed, begin_replay
from xpm_stream.stages.run_end import TrainersEnd, only_acknowledging_helps
from xpm_stream.stages.sample_claims import SampleClaims
from xpm_stream.stages.stale_labels import StaleLabels
from xpm_stream.stages.staleness import Staleness
from xpm_stream.stages.step_metrics import StepMetrics
from xpm_stream.stages.student import Student
from xpm_stream.stages.turns import Entry, Turn, accepted_entries, entry_of

_PREFETCHED_ITEMS: Final = 2
_PORTS_OF_RANKS: Final = 1000  # rank N's metrics port is `metrics.port` + 1000 + N; rank 0's is `metrics.port`


def run_trainer(config: RunConfig) -> None:
    """Train the student until the corpus is finished, `trainer.steps` are done, or it is told to stop.

    Under torchrun every rank calls this; they train one student together.
    """
    require_labeler(config.method)
    rank = rank_of_process()
    name, offset = (f"trainer-{rank}", _PORTS_OF_RANKS + rank) if rank else ("trainer", 0)
    patience_s = config.trainer.stall_timeout_s + config.redis.retry_for_s + config.registry.retry_for_s
    with role_process(name, kind="trainer", config=config, port_offset=offset) as role:
        starting = Starting("the other ranks have not joined yet")
        role.unready.append(starting)
        with (
            joined_ranks(choose_device(config.trainer.device), timeout_s=patience_s) as ranks,
            open_queue(role) as queue,
        ):
            starting.lacks = "no teacher is promoted yet"
            resume = CheckpointStore(role.open_registry("/resume"))
            place = _await_place(role, resume, ranks)
            if place is None:
                return
            starting.lacks = "the student is not loaded yet"
            student, replay = _load(role, resume, place, ranks)
            starting.lacks = "Redis is not yet in line with the checkpoint"
            trainer = Trainer(role, queue=queue, resume=resume, student=student, ranks=ranks, replay=replay)
            starting.lacks = None
            trainer.run()


class _Place(msgspec.Struct):
    """Where a student starts: a resume checkpoint or the first teacher."""

    name: str = ""  # none yet
    resumed: bool = False


def _await_place(role: Role, resume: CheckpointStore, ranks: Ranks) -> _Place | None:
    """Wait for a checkpoint to go on from, or for the first teacher; none if told to stop before."""
    # Rank 0 looks for all: another rank might already see a newer teacher.
    while not (place := ranks.from_first(lambda: _place_to_start(role, resume), kind=_Place)).name:
        role.watchdog.progress("waiting for the first teacher")
        if any(ranks.share(role.stop.wait(role.config.promotion.poll_s))):
            return None
    return place


def _load(role: Role, resume: CheckpointStore, place: _Place, ranks: Ranks) -> tuple[Student, Replay | None]:
    files = (resume if place.resumed else role.checkpoints).read(place.name)
    student = Student(role.config, files=files, name=place.name, ranks=ranks)
    role.log.info("student loaded", checkpoint=place.name, step=student.state.step, ranks=ranks.size)
    return student, begin_replay(role, files=files, name=place.name, resumed=place.resumed, ranks=ranks)


def _place_to_start(role: Role, resume: CheckpointStore) -> _Place:
    latest = resume.latest()
    if latest is not None:
        return _Place(latest.name, resumed=True)
    champion = role.promotions.champion()
    return _Place() if champion is None else _Place(champion.checkpoint)


class Trainer:
    """One rank of the streaming student. All ranks take every step, checkpoint and decision together."""

    def __init__(
        self,
        role: Role,
        *,
        queue: LabelQueue,
        resume: CheckpointStore,
        student: Student,
        ranks: Ranks,
        replay: Replay | None = None,
    ) -> None:
        self._role = role
        self._config = role.config
        self._metrics = role.metrics.trainer
        self._queue = queue
        self._student = student
        self._state = student.state
        self._ranks = ranks
        self._replay = replay
        self._raise_epoch()
        seed_torch(self._config.seed, epoch=self._state.epoch, rank=ranks.number)
        self._metrics.epoch.set(self._state.epoch)
        self._claims = SampleClaims(student.trained)
        # Where labels always come from the first teacher, no teacher would label them anew.
        refreshed = self._config.teacher.refresh == "on_promotion"
        staleness = Staleness(role.promotions, max_lag=self._config.trainer.max_teacher_lag if refreshed else None)
        self._staleness = staleness
        self._stale_labels = StaleLabels(role, queue=queue, claims=self._claims, staleness=staleness)
        self._step_metrics = StepMetrics(role, student=student, staleness=staleness)
        self._durability = Durability(
            role, queue=queue, resume=resume, student=student, claims=self._claims, ranks=ranks, replay=replay
        )
        self._end = TrainersEnd(role, queue=queue, resume=resume, state=self._state, ranks=ranks)

    def _raise_epoch(self) -> None:
        """Fence every older trainer, and bring Redis in line with the checkpoint, before any rank reads."""
        queue, trained, at_least = self._queue, self._student.trained, self._state.epoch

        def raise_and_settle() -> int:
            epoch = queue.raise_epoch(at_least=at_least)
            crash_points.reach("trainer.after_epoch")
            settlement = queue.settle(trained)
            crash_points.reach("trainer.after_settle")
            self._role.log.info(
                "trainer started",
                epoch=epoch,
                ranks=self._ranks.size,
                step=self._state.step,
                trained=len(trained),
                acknowledged=settlement.acknowledged,
                returned=settlement.returned,
            )
            return epoch

        self._state.epoch = self._ranks.from_first(raise_and_settle, kind=int)
        if not self._ranks.first:
            queue.join_epoch(self._state.epoch)

    def run(self) -> None:
        """Train to the end; leave a durable checkpoint, its labels acknowledged, and a last candidate."""
        feed = LabelFeed(
            self._role,
            queue=self._queue,
            method=self._student.method,
            base_feed=self._student.base_feed,
            claims=self._claims,
            epoch=self._state.epoch,
            rank=self._ranks.number,
            replay=self._replay,
        )
        finished = self._steps_done()
        with Prefetched(feed.items, depth=_PREFETCHED_ITEMS, name="label feed", watchdog=self._role.watchdog) as items:
            waited_from = time.monotonic()
            for item in () if finished else items:
                self._metrics.data_wait_seconds.inc(time.monotonic() - waited_from)
                self._durability.acknowledge_later(feed.take_duplicates())
                fresh = None if isinstance(item, Starved) else self._without_stale(feed, item)
                turns = self._ranks.share(self._turn(fresh, checkpoint=isinstance(item, Starved) and item.checkpoint))
                if any(turn.stopping for turn in turns):
                    break
                finished = self._take_turn(feed, fresh, turns)
                if finished:
                    break
                waited_from = time.monotonic()
        self._durability.checkpoint()
        if finished:
            self._durability.finish()
            self._end.mark()
        self._role.log.info("trainer finished" if finished else "trainer stopped", step=self._state.step)

    def _without_stale(self, feed: LabelFeed, item: TrainingItem) -> TrainingItem | None:
        """Return the item without its stale labels, which are sent back; none if nothing is left."""
        fresh = self._stale_labels.keep_fresh(item.admitted, hold=feed.hold)
        replayed = self._usable(item.replayed)
        if len(fresh) == len(item.admitted) and replayed is item.replayed:
            return item
        return feed.recollate(fresh, base=item.base, replayed=replayed) if fresh else None

    def _usable(self, replayed: Replayed) -> Replayed:
        """Return what is replayed, unless its teacher was revoked, or left behind, since it labelled."""
        if replayed.teacher is not None and self._staleness.verdict(replayed.teacher) is not None:
            return NOTHING
        return replayed

    def _turn(self, item: TrainingItem | None, *, checkpoint: bool) -> Turn:
        return Turn(
            stopping=self._role.stop.is_set(),
            checkpoint=checkpoint,
            entries=[entry_of(admitted.message) for admitted in item.admitted] if item else [],
            relabelled=self._stale_labels.take_count(),
            replayed=len(item.replayed.images) if item else 0,
        )

    def _take_turn(self, feed: LabelFeed, item: TrainingItem | None, turns: list[Turn]) -> bool:
        """Take a step if any rank brought labels; return whether all is done. Every rank decides alike."""
        self._state.samples_relabelled += sum(turn.relabelled for turn in turns)
        brought = [entry.sample for turn in turns for entry in turn.entries]
        accepted = accepted_entries(turns, trained=self._claims.trained_among(brought))
        mine = self._without_taken(feed, item, accepted[self._ranks.number]) if item else None
        if any(accepted):
            self._state.samples_replayed += sum(t.replayed for t, kept in zip(turns, accepted, strict=True) if kept)
            self._train(mine, accepted)
            self._durability.after_step()
        if any(turn.checkpoint for turn in turns):
            self._durability.checkpoint()
        if not brought:
            return self._starved()
        return self._steps_done()

    def _steps_done(self) -> bool:
        return bool(self._config.trainer.steps) and self._state.step >= self._config.trainer.steps

    def _starved(self) -> bool:
        """Without new labels: see whether all is done; make a checkpoint if only acknowledging brings more."""
        if self._durability.waiting and self._ranks.from_first(self._checkpoint_helps, kind=bool):
            self._durability.checkpoint()
        return self._end.corpus_finished()

    def _checkpoint_helps(self) -> bool:
        return self._durability.idle or only_acknowledging_helps(self._config.queue, self._queue.stats())

    def _without_taken(self, feed: LabelFeed, item: TrainingItem, accepted: list[Entry]) -> TrainingItem | None:
        """Return the item without what another rank trains or trained; none if nothing is left."""
        if len(accepted) == len(item.admitted):
            return item
        keep = {entry.sample for entry in accepted}
        taken = [admitted for admitted in item.admitted if admitted.message.sample not in keep]
        self._claims.release(admitted.message.sample for admitted in taken)
        self._durability.acknowledge_later(admitted.delivery for admitted in taken)
        self._metrics.duplicates_skipped.inc(len(taken))
        fresh = [admitted for admitted in item.admitted if admitted.message.sample in keep]
        return feed.recollate(fresh, base=item.base, replayed=item.replayed) if fresh else None

    def _train(self, item: TrainingItem | None, accepted: list[list[Entry]]) -> None:
        self._student.method.note_words([entry.words for entries in accepted for entry in entries])
        losses, norm, seconds = self._student.step(item.batch if item else None)
        crash_points.reach("trainer.after_step")
        for rank, entries in enumerate(accepted):
            book = self._claims.book_trained if rank == self._ranks.number else self._claims.book_trained_elsewhere
            book(entry.sample for entry in entries)
            for entry in entries:
                self._state.count(entry.promotion, entry.tally)
        if item is not None:
            self._state.feed = dict(item.feed_state)
            self._durability.acknowledge_later(admitted.delivery for admitted in item.admitted)
            if self._replay is not None:
                self._replay.add(admitted.message for admitted in item.admitted)
        self._role.watchdog.progress(f"step {self._state.step}")
        self._step_metrics.observe(item, losses, norm, seconds)
