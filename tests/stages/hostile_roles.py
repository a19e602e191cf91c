"""Real role processes on the counting stub, one sample of which may kill or hang whoever touches it in some place."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.stub.corpus import propose_stub_teacher, write_stub_shard
from benchmarks.stub.counting import COUNTING_OPTIMISER, METHOD, SAMPLES_VARIABLE, Counting, number_of, times_trained
from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import LabelQueue, TrainedLedger, connect, start_or_join
from xpm_stream.methods.base import Batch, CaptionImage
from xpm_stream.records import Annotation
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.training_state import decode_training_state

SAMPLES = 40
PATIENCE_S = 60.0
_HOSTILE = "XPM_TEST_HOSTILE"  # `kill | hang`:`label | step | decode | read`:number,number
_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["xpm_stream.stages.labeling", "xpm_stream.stages.training"])


def until(condition: Callable[[], Any], *, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:.0f} s"
        time.sleep(0.02)
    return value


def meet(place: str, numbers: Sequence[int]) -> None:
    """Die or hang if a hostile sample is among these, here."""
    act, where, hostile = (*os.environ.get(_HOSTILE, "").split(":"), "", "")[:3]
    if where != place or not {str(number) for number in numbers} & set(hostile.split(",")):
        return
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def _run(kind: str, config: RunConfig, environment: dict[str, str]) -> None:
    os.environ.update(environment, OMP_NUM_THREADS="1")
    from xpm_stream.data import tar_reading
    from xpm_stream.stages import label_feed, labeling, prepared_samples, training

    decode, read = prepared_samples.decode_image, tar_reading.TarReader.read
    label, losses = Counting.label, Counting.losses

    def hostile_label(method: Counting, images: Sequence[CaptionImage]) -> list[Annotation]:
        meet("label", [number_of(image.pixels) for image in images])
        return label(method, images)

    def hostile_losses(method: Counting, batch: Batch) -> dict[str, Tensor]:
        meet("step", batch.tolist())
        return losses(method, batch)

    def hostile_decode(data: bytes, *, max_pixels: int) -> Any:
        pixels = decode(data, max_pixels=max_pixels)
        meet("decode", [number_of(pixels)])
        return pixels

    def hostile_read(tar: Any, member: Any) -> bytes:
        meet("read", [int(member.name.partition(".")[0])])
        return read(tar, member)

    prepared_samples.decode_image = label_feed.decode_image = hostile_decode
    tar_reading.TarReader.read = hostile_read
    Counting.label, Counting.losses = hostile_label, hostile_losses
    {"label": labeling.run_labeler, "train": training.run_trainer}[kind](config)


class HostileRun:
    """A run whose roles are started one by one."""

    def __init__(self, folder: Path, **sections: dict[str, Any]) -> None:
        write_stub_shard(folder / "s.tar", first=0, samples=SAMPLES)
        tree: dict[str, Any] = {
            "folder": str(folder / "run"),
            "method": METHOD,
            "optimiser": COUNTING_OPTIMISER,
            "data": {"shards": [str(folder / "s.tar")]},
            "metrics": {"enabled": False},
            "queue": {"lease_ttl_s": 1.0, "store_patience_s": 3.0},
            "trainer": {"batch_base": 0, "batch_captions": 4, "checkpoint_every_steps": 1000, "threads": 1},
            "labeler": {"batch_images": 4, "threads": 1},
        }
        for name, section in sections.items():
            tree[name] = {**tree.get(name, {}), **section}
        self.config = parse_config(tree, source="test")
        self.shard = folder / "s.tar"
        os.environ[SAMPLES_VARIABLE] = str(SAMPLES)
        propose_stub_teacher(self.config)
        self.promotions = PromotionLog(RunFolder.of(self.config).registry_url(self.config))
        self.promote()
        self._started: list[BaseProcess] = []

    def promote(self) -> None:
        """Promote the first teacher (again)."""
        self.promotions.append("promote", checkpoint="teacher-s0", epoch=0, step=0, by="test")

    def start(self, kind: str, *, hostile: str = "", crash_at: str = "") -> BaseProcess:
        environment = {SAMPLES_VARIABLE: str(SAMPLES), _HOSTILE: hostile}
        if crash_at:
            environment["XPM_STREAM_CRASH_AT"] = crash_at
        process = _FORKSERVER.Process(target=_run, args=(kind, self.config, environment))
        process.start()
        self._started.append(process)
        return process

    def live(self, kind: str, **how: str) -> int:
        """Run a role to its end; return its exit status."""
        process = self.start(kind, **how)
        process.join(PATIENCE_S)
        assert process.exitcode is not None, f"{kind} did not end"
        return process.exitcode

    def train(self, *, most: int = 12, **how: str) -> int:
        """Start a trainer again each time it is killed, until all is trained; return how often it was."""
        for deaths in range(most):
            status = self.live("train", **how)
            if status == 0:
                return deaths
            assert status == -signal.SIGKILL, f"the trainer ended with {status}"
        raise AssertionError(f"the trainer was killed {most} times and is not done")

    def label(self, *, most: int = 12, **how: str) -> int:
        """Start a labeler again each time it is killed, until nothing is left to label; return how often it was."""
        with self.queue() as queue:
            for deaths in range(most):
                labeler = self.start("label", **how)
                until(lambda: labeler.exitcode is not None or _labelled(queue), what="labels")  # noqa: B023
                if labeler.exitcode is None:
                    labeler.terminate()
                    labeler.join(PATIENCE_S)
                    assert labeler.exitcode == 0
                    return deaths
                assert labeler.exitcode == -signal.SIGKILL, f"the labeler ended with {labeler.exitcode}"
        raise AssertionError(f"the labeler was killed {most} times and is not done")

    def queue(self) -> LabelQueue:
        return connect(self.config.redis, self.config.queue, run_folder=Path(str(self.config.folder)))

    def checkpoint(self) -> tuple[list[int], TrainedLedger, Any]:
        """How often the last checkpoint's weights say each sample was trained; its ledger; its training state."""
        store = CheckpointStore(f"{RunFolder.of(self.config).registry_url(self.config)}/resume")
        latest = store.latest()
        assert latest is not None
        files = store.read(latest.name)
        state, ledger = decode_training_state(files, name=latest.name)
        return times_trained(files).tolist(), ledger, state

    def logged(self, message: str) -> list[dict[str, Any]]:
        lines = [
            json.loads(line)
            for path in (Path(str(self.config.folder)) / "logs").glob("*.jsonl")
            for line in path.read_text().splitlines()
        ]
        return [line for line in lines if line["message"] == message]

    def end(self) -> None:
        for process in self._started:
            if process.is_alive():
                process.kill()
            process.join()


def process_state(process: BaseProcess) -> str:
    """T: frozen."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def _labelled(queue: LabelQueue) -> bool:
    stats = queue.stats()
    return stats.shards_finished == 1 and not stats.relabels


@contextmanager
def hostile_run(folder: Path, **sections: dict[str, Any]) -> Iterator[HostileRun]:
    run = HostileRun(folder, **sections)
    with start_or_join(run.config.redis, run_folder=Path(str(run.config.folder))):
        try:
            yield run
        finally:
            run.end()
