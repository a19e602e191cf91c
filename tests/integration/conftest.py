"""A corpus, a teacher and runs small enough for real processes to be started many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import Run
from small_runs import SMALL, SYNTHETIC, MakeRun
from stub_runs import MakeStubRun, StubRun, make_stub_run

from xpm_stream.config.data_sections import SyntheticCorpusConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.label_queue import LabelQueue, connect, start_or_join
from xpm_stream.methods import find_method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.network_files import network_files
from xpm_stream.stages.preparation import synthetic_config


@pytest.fixture(scope="session")
def text_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    section = SyntheticCorpusConfig.model_validate(SYNTHETIC)
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", preset=synthetic_config(section))


@pytest.fixture(scope="session")
def data(corpus: CorpusPaths) -> dict[str, Any]:
    """The `data` section that reads the corpus."""
    return {
        "shards": [str(corpus.caption_shards)],
        "base": {"annotations": str(corpus.base_annotations), "images": str(corpus.base_images)},
        "val": {"annotations": str(corpus.val_annotations), "images": str(corpus.val_images)},
        "split": {"file": str(corpus.split)},
    }


@pytest.fixture(scope="session")
def untrained_teacher(corpus: CorpusPaths, text_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint folder that `teacher.checkpoint` may name: right in everything but what it knows."""
    config = parse_config({**SMALL, "text": {"cache": str(text_cache)}}, source="test")
    classes = list(corpus.base_words)
    method = find_method(config.method)(config, base_classes=classes)
    store = CheckpointStore(tmp_path_factory.mktemp("teacher"))
    store.write("untrained", network_files(method, config=config, base_classes=classes))
    return f"{store.url}/untrained"


@pytest.fixture(scope="module")
def make_run(text_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeRun]:
    """Make a run folder's configuration; sections are laid over the small ones. Nothing of it outlives the module."""
    runs = []

    def make(name: str, **sections: Mapping[str, Any]) -> Run:
        folder = tmp_path_factory.mktemp(name) / "run"
        tree = {"name": name, "folder": str(folder), "text": {"cache": str(text_cache)}}
        for section in {**SMALL, **sections}:
            base, over = SMALL.get(section, tree.get(section, {})), sections.get(section, {})
            tree[section] = {**base, **over}
        path = folder.parent / "config.yaml"
        path.write_text(yaml.safe_dump(tree))
        runs.append(Run(folder, path))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


@pytest.fixture
def stub_run(tmp_path: Path) -> Iterator[MakeStubRun]:
    """Make a stub run with an embedded Redis; `method` is one of hunt_methods, if not the stub."""
    runs: list[StubRun] = []
    servers = []

    def make(*, method: str | None = None, **settings: Any) -> StubRun:
        run = make_stub_run(tmp_path, redis={}, **{"pace_ms": 0, **settings})
        if method is not None:
            run.config = run.config.model_copy(update={"method": f"hunt_methods:{method}"})
        runs.append(run)
        servers.append(start_or_join(run.config.redis, run_folder=run.folder))
        return run

    yield make
    for run in runs:
        run.end()
    for server in servers:
        server.stop()


@pytest.fixture
def queue_of() -> Iterator[Callable[[StubRun], LabelQueue]]:
    """Open the label queue of a stub run."""
    queues = []

    def another(run: StubRun) -> LabelQueue:
        queues.append(connect(run.config.redis, run.config.queue, run_folder=run.folder))
        return queues[-1]

    yield another
    for queue in queues:
        queue.close()
