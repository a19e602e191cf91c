"""One arm with one seed: train as the roles do, in one process, and judge.

A first teacher is trained by `xpm-stream teach`. A student takes the steps that a trainer takes, on the labels that a
labeler gives, through the same classes; the queue between the two is left out, so that trials that differ in one switch
see the same images in the same order. What the queue adds is measured elsewhere (`benchmarks.faults`, quickstart).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.quality.arms import BY_NAME, Arm
from benchmarks.quality.corpora import CaptionStream, late_targets
from benchmarks.quality.form import Form
from benchmarks.quality.judging import LabelJudge, judge_network
from benchmarks.quality.results import LabelQuality, Snapshot, TrialResult
from xpm_stream.config import RunConfig, save_resolved
from xpm_stream.data.synthetic import CorpusPaths
from xpm_stream.learning.reservoir import Reservoir
from xpm_stream.learning.reservoir_state import ReplaySample
from xpm_stream.methods import find_method
from xpm_stream.methods.base import CaptionImage, LabelledImage, Method
from xpm_stream.records import Annotation, ImageInline, SampleId
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.devices import autocast, choose_device, seed_torch
from xpm_stream.stages.network_files import checkpoint_base_classes, load_network, network_files
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.replay import label_again, reservoir_limits
from xpm_stream.stages.student import Student

Files = Mapping[str, bytes]
CHECKPOINT: Final = "final"


def corpus_folder(work: Path, arm: Arm, *, seed: int) -> Path:
    """Where the corpus of an arm is: arms with the same settings share one."""
    settings = "-".join(f"{key}={value}" for key, value in sorted(arm.corpus.items())) or "plain"
    return work / f"seed-{seed}" / "corpora" / settings


def trial_folder(work: Path, arm: Arm, *, seed: int) -> Path:
    """Where a trial keeps its checkpoint, log and result."""
    return work / f"seed-{seed}" / arm.name


def run_trial(name: str, *, form: Form, seed: int, work: Path) -> TrialResult:
    """Run and judge one trial; the result is in its folder, too."""
    arm = BY_NAME[name]
    folder = trial_folder(work, arm, seed=seed)
    corpus = CorpusPaths.load(corpus_folder(work, arm, seed=seed))
    config = form.config(corpus, folder=folder, seed=seed, sets=arm.sets)
    result = (
        _teach(arm, config, form=form) if arm.start is None else _Streaming(arm, config, form=form, work=work).run()
    )
    result.write(folder / "result.json")
    return result


def _teach(arm: Arm, config: RunConfig, *, form: Form) -> TrialResult:
    started = time.monotonic()
    folder = Path(str(config.folder))
    folder.mkdir(parents=True, exist_ok=True)
    written = save_resolved(config, folder)
    with (folder / "teach.log").open("wb") as log:
        command = [sys.executable, "-m", "xpm_stream.cli.main", "teach", str(written)]
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    (candidate,) = PromotionLog(f"{folder}/registry").candidates()
    files = CheckpointStore(f"{folder}/registry/checkpoints").read(candidate.checkpoint)
    CheckpointStore(str(folder)).write(CHECKPOINT, files)
    trained = time.monotonic() - started
    method = _load(config, files)
    final = judge_network(method, config=config, step=candidate.step)
    return TrialResult(
        arm=arm.name,
        seed=config.seed,
        form=form.name,
        final=final,
        seconds={"train": round(trained, 1), "all": round(time.monotonic() - started, 1)},
    )


def _load(config: RunConfig, files: Files) -> Method:
    device = choose_device("cpu", threads=1)
    method = find_method(config.method)(config, base_classes=checkpoint_base_classes(files, name=CHECKPOINT))
    method.network.to(device).eval()
    load_network(method, files, name=CHECKPOINT)
    return method


class _Streaming:
    """A student that learns from teachers, as trainer and labeler have it learn."""

    def __init__(self, arm: Arm, config: RunConfig, *, form: Form, work: Path) -> None:
        assert arm.start is not None
        self._arm = arm
        self._form = form
        self._steps = round(form.round_steps * arm.rounds)
        trainer = config.trainer.model_copy(update={"schedule_steps": self._steps})
        self._config = config.model_copy(update={"trainer": trainer})
        seed_torch(config.seed, epoch=1)
        start = CheckpointStore(str(trial_folder(work, BY_NAME[arm.start], seed=config.seed))).read(CHECKPOINT)
        self._base_classes = checkpoint_base_classes(start, name=CHECKPOINT)
        self._teacher = _load(self._config, start)
        self._student = Student(self._config, files=start, name=CHECKPOINT, ranks=Ranks())
        self._stream = CaptionStream(self._config, of=arm.captions, shift=arm.stream == "shift", steps=self._steps)
        self._device = choose_device("cpu", threads=1)
        self._judge = LabelJudge(self._config)
        self._replay = Replay(self._config) if self._config.trainer.replay_images else None
        self._labels: list[LabelQuality] = []
        self._since = 0
        self._promoted: list[Snapshot] = []
        self._seconds: dict[str, float] = {"label": 0.0, "train": 0.0, "judge": 0.0}

    def run(self) -> TrialResult:
        """Take all steps; judge the last weights, and the labels of each teacher."""
        started = time.monotonic()
        promote_at = {
            round(self._steps * number / (self._arm.promotions + 1)) for number in range(1, self._arm.promotions + 1)
        }
        for step in range(self._steps):
            if step in promote_at:
                self._promote(step)
            self._step(step)
        self._close_labels()
        final = self._judged(self._steps)
        CheckpointStore(str(self._config.folder)).write(CHECKPOINT, self._files())
        self._seconds["all"] = time.monotonic() - started
        return TrialResult(
            arm=self._arm.name,
            seed=self._config.seed,
            form=self._form.name,
            final=final,
            promoted=self._promoted,
            late_targets=late_targets(self._config),
            labels=self._labels,
            seconds={name: round(value, 1) for name, value in self._seconds.items()},
        )

    def _step(self, step: int) -> None:
        known = self._stream.take(step, self._config.trainer.batch_captions)
        labelled: list[LabelledImage] = []
        with self._timed("label"):
            if known:
                annotations = self._label([item.image for item in known])
                self._judge.add(known, annotations)
                labelled = [
                    LabelledImage(
                        sample=item.image.sample,
                        pixels=item.image.pixels,
                        words=item.image.words,
                        annotation=annotation,
                    )
                    for item, annotation in zip(known, annotations, strict=True)
                ]
            replayed = self._replay.take(step, label=self._label) if self._replay is not None else []
        with self._timed("train"):
            method, feed = self._student.method, self._student.base_feed
            assert feed is not None
            base = feed.take(self._config.trainer.batch_base)
            method.note_words([image.words for image in labelled])
            rng = np.random.default_rng([self._config.seed, 1, step])
            self._student.step(method.collate([*labelled, *replayed], base, rng=rng))
        if self._replay is not None:
            self._replay.add([item.image for item in known])

    def _label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        with autocast(self._device, precision=self._config.labeler.precision):
            return self._teacher.label(images)

    def _promote(self, step: int) -> None:
        self._close_labels()
        self._since = step
        load_network(self._teacher, self._files(), name=f"step {step}")
        self._teacher.teacher_changed()
        self._teacher.network.eval()
        if self._arm.judge_promoted:
            self._promoted.append(self._judged(step))

    def _judged(self, step: int) -> Snapshot:
        with self._timed("judge"):
            return judge_network(_load(self._config, self._files()), config=self._config, step=step)

    def _close_labels(self) -> None:
        with self._timed("judge"):
            quality = self._judge.close(teacher=len(self._labels), step=self._since)
        if quality is not None:
            self._labels.append(quality)

    def _files(self) -> Files:
        # As a candidate's: without the optimiser and the place in the schedule, which the next round begins anew.
        return network_files(self._student.method, config=self._config, base_classes=self._base_classes)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] += time.monotonic() - started


class Replay:
    """The trainer's replay, with the images in memory: none is fetched, and none is lost."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._reservoir = Reservoir(reservoir_limits(config), seed=[config.seed, 0])
        self._pixels: dict[SampleId, npt.NDArray[np.uint8]] = {}

    def add(self, images: Sequence[CaptionImage]) -> None:
        """Take note of trained images; one that the stream shows again is not another one."""
        for image in images:
            if image.sample not in self._pixels:
                self._pixels[image.sample] = image.pixels
                self._reservoir.add(ReplaySample(sample=image.sample, words=image.words, image=ImageInline(data=b"")))

    def take(self, step: int, *, label: Callable[[Sequence[CaptionImage]], list[Annotation]]) -> list[LabelledImage]:
        """The images that come back in this step, labelled anew."""
        rng = np.random.default_rng([self._config.seed, 1, step, 1])
        drawn = self._reservoir.draw(self._config.trainer.replay_images, rng=rng)
        found = [(kept, self._pixels[kept.sample]) for kept in drawn]
        return label_again(found, label=label, batch_images=self._config.labeler.batch_images)
