"""All roles of a run on one machine: prepare, teach, stream, promote, evaluate, show. Each role is its own process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from pydantic import BaseModel

from xpm_stream.config import RunConfig, load_config, save_resolved
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.errors import ConfigError, TrainingError, XpmStreamError
from xpm_stream.label_queue import start_or_join
from xpm_stream.methods import METHODS, find_method, require_labeler
from xpm_stream.monitoring.summary import ModelScores
from xpm_stream.registry.patience import Patience
from xpm_stream.registry.promotion_log import PromotionEntry, PromotionLog
from xpm_stream.registry.store import open_store
from xpm_stream.stages.children import Child, start_role, stop_in_order
from xpm_stream.stages.drift_calibration import checked_settings
from xpm_stream.stages.operating import open_queue_of
from xpm_stream.stages.preparation import Progress, prepare_data
from xpm_stream.stages.run_folder import RunFolder

_LOOK_EVERY_S: Final = 0.5
_GRACE_S: Final = 15.0  # beyond the time in which a role leaves by itself, or has its watchdog end it
# What may differ when a run is started again in its folder; all else decides what the run is.
_REGISTRY_IS: Final = ".url"  # of its section only this decides
_MAY_CHANGE: Final = {"labeler", "trainer", "promotion", "metrics", "logs", "evaluation", "queue", "redis", "drift"}


@dataclass(slots=True)
class Stopwatch:
    """Seconds of each stage, in the order they ran."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 1)


@dataclass(frozen=True, slots=True)
class LocalRun:
    """One run on this machine."""

    config: RunConfig  # with `data` filled in
    folder: RunFolder
    stopwatch: Stopwatch

    @classmethod
    def prepare(cls, config: RunConfig, *, progress: Progress | None = None) -> LocalRun:
        """Make the run folder and its data, and save the resolved configuration there.

        Raises:
            ConfigError: the folder holds a run with another configuration, the method is unknown or has no labeler, or
                the drift monitor's windows or references cannot be.
            DataError: the data cannot be prepared, or a shard is missing.
        """
        if config.method not in METHODS and ":" not in config.method:
            find_method(config.method)  # raises, and suggests the nearest
        require_labeler(config.method)
        if config.drift.enabled:
            checked_settings(config.drift)
        stopwatch = Stopwatch()
        folder = RunFolder.of(config)
        config = config.model_copy(update={"folder": str(folder.root)})
        before = load_config(folder.config) if folder.config.exists() else None
        if before is not None:  # before any of its data is touched; `data` is compared once it is filled in
            _check_same_run(before, config.model_copy(update={"data": before.data}), folder)
        with stopwatch.stage("prepare"):
            config = prepare_data(config, progress=progress)
        if before is not None:
            _check_same_run(before, config, folder)
        _check_shards(config)
        save_resolved(config, folder.root)
        return cls(config, folder, stopwatch)

    def stream(
        self, *, on_stage: Callable[[str], None], on_look: Callable[[], None], stopped: Callable[[], bool]
    ) -> bool:
        """Run all roles until the trainer has finished; return false if stopped before.

        However it ends, the roles are stopped in order: labelers first, so that nothing new is queued, then the
        trainer, which makes a checkpoint and acknowledges, then the promoter, then the drift monitor, then Redis.

        Raises:
            RoleError: a role ended with an error.
        """
        with ExitStack() as stack:
            if self.config.redis.url == "embedded":
                stack.enter_context(start_or_join(self.config.redis, run_folder=self.folder.root))
            roles = _Roles(self, stack)
            if self.config.teacher.init == "pretraining" and not self.promotions():
                on_stage("pretraining on captions")
                with self.stopwatch.stage("pretraining"):
                    if not roles.pretrain(on_look=on_look, stopped=stopped):
                        return False
            on_stage("teaching the first teacher")
            with self.stopwatch.stage("teacher"):
                if not roles.teach(on_look=on_look, stopped=stopped):
                    return False
            on_stage("streaming")
            with self.stopwatch.stage("stream"):
                return roles.train(on_look=on_look, stopped=stopped)

    def promotions(self) -> list[PromotionEntry]:
        """Return the promotion log."""
        return self.promotion_log().entries()

    def promotion_log(self) -> PromotionLog:
        """Open the promotion log; it waits for a store that is away, as the roles do."""
        url = self.folder.registry_url(self.config)
        return PromotionLog(open_store(url, patience=Patience(retry_for_s=self.config.registry.retry_for_s)))

    def checkpoint_url(self, name: str) -> str:
        """Return where a teacher or candidate checkpoint is."""
        return f"{self.folder.registry_url(self.config)}/checkpoints/{name}"

    def evaluate(self, models: dict[str, str], *, on_look: Callable[[], None]) -> dict[str, ModelScores]:
        """Evaluate checkpoints (label -> name) beside one another, each in its own process.

        Raises:
            RoleError: an evaluation ended with an error.
        """
        with self.stopwatch.stage("evaluate"):
            outputs = {label: self.folder.evaluations / f"{name}.json" for label, name in models.items()}
            children = []
            for label, name in models.items():
                arguments = ["evaluate", self.checkpoint_url(name), "--run", str(self.folder.root)]
                arguments += ["--json", str(outputs[label])]
                children.append(start_role(f"evaluate-{label}", arguments, logs=self.folder.logs))
            _await(children, on_look=on_look)
            return {label: msgspec.json.decode(path.read_bytes(), type=ModelScores) for label, path in outputs.items()}

    def show(self, checkpoint: str, *, on_look: Callable[[], None]) -> Path:
        """Draw pseudo labels of a checkpoint; return the picture.

        Raises:
            RoleError: it ended with an error.
        """
        with self.stopwatch.stage("pictures"):
            picture = self.folder.pictures / "pseudo_labels.png"
            arguments = [
                "show",
                str(self.folder.root),
                "--checkpoint",
                self.checkpoint_url(checkpoint),
                "--out",
                str(picture),
            ]
            _await([start_role("show", arguments, logs=self.folder.logs)], on_look=on_look)
            return picture


class _Roles:
    """The processes of a run while it streams."""

    def __init__(self, run: LocalRun, stack: ExitStack) -> None:
        self._run = run
        self._started: list[Child] = []
        self._promoter: Child
        stack.callback(self._stop_all)

    def pretrain(self, *, on_look: Callable[[], None], stopped: Callable[[], bool]) -> bool:
        """Have backbone and embedding head pretrained on captions; at once where that is done."""
        pretrainer = self._start("pretrainer", "pretrain")
        while not pretrainer.check():
            if stopped():
                return False
            on_look()
            time.sleep(_LOOK_EVERY_S)
        return True

    def teach(self, *, on_look: Callable[[], None], stopped: Callable[[], bool]) -> bool:
        """Have a first teacher trained and promoted."""
        promoter = self._promoter = self._start("promoter", "promote")
        teacher = self._start("teacher", "teach")
        while not (teacher.check() and self._has_teacher()):
            promoter.check()
            if stopped():
                return False
            on_look()
            time.sleep(_LOOK_EVERY_S)
        return True

    def train(self, *, on_look: Callable[[], None], stopped: Callable[[], bool]) -> bool:
        """Have the labelers and the trainer work until the trainer is done, then let the rest finish."""
        config = self._run.config
        if config.drift.enabled:
            self._start("monitor", "watch")
        labelers = [
            self._start(f"labeler-{index}", "label", "--index", str(index)) for index in range(config.labeler.workers)
        ]
        trainer = self._start("trainer", "train")
        while not trainer.check():
            for child in self._started:
                child.check()
            if stopped():
                return False
            on_look()
            time.sleep(_LOOK_EVERY_S)
        for labeler in labelers:
            labeler.ask_to_stop()
        while self._pending() and not self._promoter.check():  # the last student is judged, too
            if stopped():
                return False
            on_look()
            time.sleep(_LOOK_EVERY_S)
        return True

    def _pending(self) -> bool:
        return bool(self._run.promotion_log().pending_candidates())

    def _has_teacher(self) -> bool:
        """Whether a teacher is promoted.

        Raises:
            TrainingError: all that were proposed are refused, so that no labeler would ever begin.
        """
        log = self._run.promotion_log()
        if log.champion() is not None:
            return True
        entries = log.entries()
        if entries and not log.pending_candidates():
            raise TrainingError(
                f"no first teacher was promoted: {'; '.join(entries[-1].reasons)}. Change what made it so "
                "(optimiser.learning_rate, teacher.checkpoint), and begin in another folder"
            )
        return False

    def _start(self, name: str, *arguments: str) -> Child:
        config = str(self._run.folder.config)
        child = start_role(name, [*arguments, config], logs=self._run.folder.logs)
        self._started.append(child)
        return child

    def _stop_all(self) -> None:
        order = ("labeler", "pretrainer", "teacher", "trainer", "promoter", "monitor")
        ordered = sorted(self._started, key=lambda child: order.index(child.name.partition("-")[0]))
        config = self._run.config
        stoppable = (config.labeler, config.trainer, config.promotion)
        grace_s = max(section.stop_timeout_s for section in stoppable) + _GRACE_S
        killed = stop_in_order(ordered, grace_s=grace_s)
        if killed:
            raise XpmStreamError(
                f"{', '.join(killed)} did not stop within {grace_s:.0f} s and had to be killed; nothing is lost: "
                "leases expire, and what was not acknowledged is trained at the next start"
            )


def _await(children: Sequence[Child], *, on_look: Callable[[], None]) -> None:
    try:
        while [child.name for child in children if not child.check()]:
            on_look()
            time.sleep(_LOOK_EVERY_S)
    finally:
        for child in children:
            child.kill()


def _check_shards(config: RunConfig) -> None:
    """Look for the shards now: the labelers, who read them, start only after the teacher's training.

    Raises:
        ConfigError: none are named, none are waited for, and nobody has given the run any.
        ShardError: a named shard is missing.
        QueueError: none are named, and Redis cannot be asked whether somebody has given the run some.
    """
    data = config.data
    if data.watch:
        return
    if data.shards:
        expand_shard_urls(data.shards)
    elif not _given_by_hand(config):
        raise ConfigError(
            "there is nothing to label: name caption shards in data.shards, have some made by prepare.synthetic or "
            "prepare.pack, or give the run some before it starts (xpm-stream shards add | watch CONFIG PATTERN)"
        )


def _given_by_hand(config: RunConfig) -> bool:
    """Whether `shards add` or `shards watch` gave the run what it streams."""
    with open_queue_of(config) as queue:
        progress = queue.corpus_progress()
    return bool(progress.shards or progress.watched)


def _check_same_run(before: RunConfig, now: RunConfig, folder: RunFolder) -> None:
    changed = [
        f"{section}{place} ({then!r} there, {asked!r} asked for)"
        for section in type(now).model_fields
        if section not in _MAY_CHANGE
        for place, then, asked in _differences(getattr(before, section), getattr(now, section))
        if section != "registry" or place == _REGISTRY_IS
    ]
    if changed:
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ConfigError(
            f"{folder.root} holds another run: {', '.join(changed[:3])}{more}; choose another folder "
            "(--set folder=...), or delete it to begin anew"
        )


def _differences(before: object, now: object, place: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield where two configuration values differ, with both; sections are looked into."""
    if isinstance(before, BaseModel) and isinstance(now, BaseModel):
        for name in type(now).model_fields:
            yield from _differences(getattr(before, name), getattr(now, name), f"{place}.{name}")
    elif before != now:
        yield place, before, now
