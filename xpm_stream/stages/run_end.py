"""How a run ends: the trainer decides and leaves a mark in Redis; labelers leave when they find it to be true."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Final

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.config.queue_sections import QueueConfig
from xpm_stream.data.shard_urls import ShardFile, expand_shard_urls
from xpm_stream.errors import RegistryError, ShardError
from xpm_stream.label_queue import CorpusProgress, LabelQueue, QueueStats
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.process import Role
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.shard_registration import add_new, records_of
from xpm_stream.stages.training_state import TrainingState

_LOOK_EVERY_S: Final = 2.0  # at the registry, for the checkpoint that a mark names


def corpus_finished(config: DataConfig, progress: QueueStats | CorpusProgress) -> bool:
    """Whether nothing is left that could come: every shard of a corpus that does not grow is done and drained.

    Before a labeler has added the first shard nothing is finished, only not begun.
    """
    begun = progress.shards_finished + progress.shards_failed > 0
    return begun and progress.drained and not (config.watch or progress.watched)


def only_acknowledging_helps(config: QueueConfig, stats: QueueStats) -> bool:
    """Whether no further label comes before the trainer acknowledges what it holds: it has all, or the budget is spent.

    A trainer that merely is faster than its labelers waits, rather than write a checkpoint for every few labels.
    """
    undelivered = stats.unacked_labels - stats.delivered_labels
    if not (undelivered or stats.relabels or stats.shards_pending or stats.shards_leased):
        return True
    labels, size_bytes = stats.unacked_labels + stats.relabels, stats.unacked_bytes + stats.relabel_bytes
    return labels >= config.max_unacked_labels or size_bytes >= config.max_unacked_mb * 2**20


class TrainersEnd:
    """When the trainer is done, and that labelers learn of it. All ranks call each method; rank 0 decides.

    What the configuration names is looked at once, at the trainer's start and in a thread: a corpus that does not grow
    is what it was then. At the end, shards that nobody has named are added rather than passed over: Redis may have been
    emptied, or labelers may have started before a shard was there.
    """

    def __init__(
        self, role: Role, *, queue: LabelQueue, resume: CheckpointStore, state: TrainingState, ranks: Ranks
    ) -> None:
        self._role = role
        self._data = role.config.data
        self._queue = queue
        self._resume = resume
        self._state = state
        self._ranks = ranks
        self._found: Future[list[ShardFile]] = Future()
        if ranks.first and not self._data.watch:
            # A daemon: a store that never answers must not keep a trainer that is told to stop.
            threading.Thread(target=self._look, name="shards of the configuration", daemon=True).start()

    def corpus_finished(self) -> bool:
        """Whether all is trained that could come; then it is marked so, in one step with the last look.

        Raises:
            EpochFenced: a newer trainer has started, or Redis was emptied.
        """
        return self._ranks.from_first(self._decide, kind=bool)

    def mark(self) -> None:
        """Have the labelers leave: the last checkpoint is durable, and this trainer takes no further step."""
        if self._ranks.first:
            self._queue.finish(checkpoint=self._checkpoint(), step=self._state.step, drained=False)

    def _decide(self) -> bool:
        if not corpus_finished(self._data, self._queue.stats()) or not self._found.done() or self._add_unnamed():
            return False
        return self._queue.finish(checkpoint=self._checkpoint(), step=self._state.step, drained=True)

    def _checkpoint(self) -> str:
        latest = self._resume.latest()
        return latest.name if latest else ""

    def _look(self) -> None:
        self._role.watchdog.watch("looking at the shards of the configuration")
        try:
            # Those that are gone by now were streamed, or no labeler can have them either.
            self._found.set_result(expand_shard_urls(self._data.shards, may_be_missing=True))
        except ShardError as error:  # only labelers must reach the stores of shards whose labels carry their images
            self._role.log.warning("only labelers can say which shards the configuration names", reason=str(error))
            self._found.set_result([])
        except BaseException as error:
            self._found.set_exception(error)
            raise
        finally:
            self._role.watchdog.pause()

    def _add_unnamed(self) -> bool:
        """Add what the ledger lacks, by URL: a copy of the corpus, with other times, is not another corpus here."""
        files = self._found.result()
        unknown = self._queue.unknown_shards(records_of(files, passes=self._data.passes))
        if not unknown:
            return False
        there = {(row.pass_index, row.url) for row in self._queue.shard_rows()}
        unnamed = [record for record in unknown if (record.pass_index, record.url) not in there]
        added = add_new(self._queue, unnamed, files)
        if added:
            self._role.log.warning("shards that no labeler had named are added: they wait for one", added=added)
        return bool(unnamed)


class LabelersEnd:
    """When a labeler may leave: a trainer of its configuration that started now would have nothing to do.

    It needs the last trainer's mark, under the present epoch; the checkpoint that the mark names must still be the
    newest, for else the next trainer returns to the labelers what that one held; and either `trainer.steps` are done,
    or nothing is left that could come.
    """

    def __init__(self, role: Role) -> None:
        self._role = role
        self._config = role.config
        self._resume = CheckpointStore(role.open_registry("/resume"))
        self._next_look = float("-inf")  # monotonic seconds
        self._said = ""

    def reached(self, progress: CorpusProgress) -> bool:
        """Whether to leave, as of these counts."""
        mark, steps = progress.finish, self._config.trainer.steps
        drained = corpus_finished(self._config.data, progress)
        if mark is None:
            if drained:
                self._say("nothing is left to label: waiting for the trainer to finish, or to send labels back")
            return False
        if not drained and not 0 < steps <= mark.step:
            return False
        if not self._is_newest(mark.checkpoint):
            return False
        self._role.log.info("run finished", checkpoint=mark.checkpoint, step=mark.step)
        return True

    def _is_newest(self, checkpoint: str) -> bool:
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY_S
        try:
            latest = self._resume.latest()
        except RegistryError as error:
            self._say(f"cannot see whether the run is finished: {error}")
            return False
        if checkpoint != (latest.name if latest else ""):
            self._say(
                f"the run was finished by checkpoint {checkpoint or 'none'}, and the last one there is "
                f"{latest.name if latest else 'none'}: waiting for a trainer, which may send labels back"
            )
            return False
        return True

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            self._role.log.info(what)
