"""A run with a small teacher, shards of captioned pictures, and labels that a real labeler put on a real queue."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from xpm_stream.config import RunConfig, load_config
from xpm_stream.label_queue import connect
from xpm_stream.label_queue.watching_labels import LabelWatcher, StreamPlace
from xpm_stream.methods import find_method
from xpm_stream.records import LabelMessage
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.annotator import Annotator
from xpm_stream.stages.labeling import Labeler
from xpm_stream.stages.lease_keeper import LeaseKeeper
from xpm_stream.stages.network_files import embedding_files, network_files
from xpm_stream.stages.process import open_queue, role_process

BASE_CLASSES = ["dog", "car", "cup"]
CAPTIONS = ("a dog beside a cat", "two cars and an umbrella\na red car", "a cup on a table", "a kite and a dog")
WITHOUT_NOUNS = "so very nice"
PATIENCE_S = 120.0


def picture(seed: int, *, width: int, height: int, format_name: str = "PNG") -> bytes:
    """An encoded picture of a few coloured rectangles."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), rng.integers(0, 256, 3), dtype=np.uint8)
    for _ in range(4):
        left, top = int(rng.integers(0, width - 8)), int(rng.integers(0, height - 8))
        pixels[top : top + int(rng.integers(8, 30)), left : left + int(rng.integers(8, 30))] = rng.integers(0, 256, 3)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format_name)
    return encoded.getvalue()


def write_members(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def captioned(first: int, samples: int) -> list[tuple[str, bytes]]:
    """Pictures of several sizes and formats: in a batch each has other padding."""
    members = []
    for number in range(first, first + samples):
        jpeg = number % 2
        size = {"width": 40 + 7 * (number % 5), "height": 40 + 9 * (number % 3)}
        image = picture(number, **size, format_name="JPEG" if jpeg else "PNG")
        members += [
            (f"{number:04d}.{'jpg' if jpeg else 'png'}", image),
            (f"{number:04d}.txt", CAPTIONS[number % len(CAPTIONS)].encode()),
        ]
    return members


def make_run(folder: Path, **sections: dict[str, object]) -> RunConfig:
    """A run folder whose teachers are yet to be promoted. Its labels depend on their order and their batches."""
    folder.mkdir(parents=True)
    tree: dict[str, object] = {
        "folder": str(folder),
        "text": {"cache": str(folder / "embeddings")},
        "model": {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16},
        "xpm": {"reliability": "standardised"},
        "labeler": {"batch_images": 3, "threads": 1, "precision": "fp32"},
        "metrics": {"enabled": False},
        **sections,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    return load_config(folder / "config.yaml")


def promote_teacher(config: RunConfig, *, seed: int = 0) -> str:
    """Promote an untrained teacher; its masks are those of its seed."""
    torch.manual_seed(seed)
    method = find_method(config.method)(config, base_classes=BASE_CLASSES)
    method.note_words([["umbrella", "kite"]])
    files = network_files(method, config=config, base_classes=BASE_CLASSES) | embedding_files(method, config=config)
    name, registry = f"teacher-{seed}", f"{config.folder}/registry"
    CheckpointStore(f"{registry}/checkpoints").write(name, files, order=(0, 10 + seed))
    PromotionLog(registry).append("promote", checkpoint=name, epoch=0, step=10 + seed, by="test")
    return name


def label_all(config: RunConfig, *, shards: int) -> list[LabelMessage]:
    """Have one labeler label all shards; return the labels that wait. The run's Redis must be up."""
    with role_process("labeler-0", kind="labeler", config=config) as role, open_queue(role) as queue:

        def stop_when_done() -> None:
            deadline = time.monotonic() + PATIENCE_S
            with connect(config.redis, config.queue, run_folder=Path(str(config.folder))) as looking:
                while looking.stats().shards_finished < shards and time.monotonic() < deadline:
                    time.sleep(0.05)
            role.stop.set()

        watcher = threading.Thread(target=stop_when_done)
        watcher.start()
        annotator = Annotator.await_teacher(role)
        assert annotator is not None
        with LeaseKeeper() as keeper:
            Labeler(role, queue=queue, annotator=annotator, keeper=keeper).run()
        watcher.join()
        assert queue.stats().shards_finished == shards
        found = [label.message for label in LabelWatcher(queue, StreamPlace()).read().labels]
    messages = [message for message in found if isinstance(message, LabelMessage)]
    assert len(messages) == len(found)
    return messages
