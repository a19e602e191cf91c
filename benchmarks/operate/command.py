"""An operator's hour in minutes: the whole loop under a real Prometheus with this project's own alerts, hastened.

    python -m benchmarks.operate [--folder DEMO]        # `make operate`; seven to ten minutes on 2 cores

It draws a synthetic corpus, starts `xpm-stream up` on shards that keep coming, and then: joins captions to the wrong
images and mends that; proposes a teacher that has collapsed; has a person promote it all the same, and take it back.
It prints what the drift monitor, the gates and the alerts make of it, and ends with exit status 1 if one of them misses
what it is there for. Times in the rules are divided by 30.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.operate.prometheus import HASTE, PrometheusMissing, start_prometheus
from benchmarks.operate.scenario import Scenario
from benchmarks.operate.stream import Stream
from benchmarks.operate.timeline import Timeline
from xpm_stream.config import RunConfig, load_config, save_resolved
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.errors import XpmStreamError
from xpm_stream.label_queue import LabelQueue
from xpm_stream.stages.children import Child, start_role
from xpm_stream.stages.operating import open_queue_of
from xpm_stream.stages.preparation import synthetic_config, synthetic_data
from xpm_stream.stages.run_folder import RunFolder

CONFIG: Final = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
_STOPPING_S: Final = 120.0
PATIENCE_S: Final = 900.0  # for any one thing to happen
# Of the quickstart's preset, smaller.
CORPUS: Final = {"base_images": 600, "caption_images": 960, "val_images": 80, "images_per_shard": 80}
SETTINGS: Final = (
    "data.passes=1",
    "data.watch=true",
    "data.watch_interval_s=1",
    "queue.max_unacked_labels=128",
    "teacher.steps=150",
    "promotion.every_steps=80",
    "promotion.gates.held_out_images=60",
    "promotion.gates.canary_images=80",
    "promotion.gates.max_failures=10",
    "drift.window_labels=80",
    "drift.min_window_labels=40",
    "drift.reference_labels=400",
    "drift.brake=true",
    "drift.brake_release_windows=2",
    "trainer.schedule_steps=100000",  # a stream has no end to slow down for
    "optimiser.schedule=constant",
    "optimiser.learning_rate=0.0007",
)


def prepare(folder: Path) -> tuple[RunConfig, Stream]:
    """Draw the corpus, and write the run's configuration."""
    section = load_config(CONFIG).prepare.synthetic
    assert section is not None
    preset = synthetic_config(section.model_copy(update={"settings": CORPUS}))
    corpus = write_corpus(folder / "corpus", preset=preset, seed=0, workers=os.cpu_count() or 1)
    stream = Stream(sorted(Path(corpus.caption_shards).parent.glob("*.tar")), folder / "stream")
    config = load_config(CONFIG, overrides=[f"folder={folder / 'run'}", "name=operate", "prepare={}", *SETTINGS])
    return _on_stream(config, corpus, stream), stream


def _on_stream(config: RunConfig, corpus: CorpusPaths, stream: Stream) -> RunConfig:
    data = synthetic_data(config.data, corpus).model_copy(update={"shards": [f"{stream.folder}/*.tar"]})
    return config.model_copy(update={"data": data})


def play(folder: Path, *, console: Console) -> list[tuple[str, str]]:
    """Play the scenario in a folder; return what came of what.

    Raises:
        PrometheusMissing: it is not installed.
        DidNotHappen: monitor, gates or alerts missed something.
        RoleError: the run ended with an error.
    """
    config, stream = prepare(folder)
    stream.add()
    run = RunFolder.of(config)
    run.create()
    settings = save_resolved(config, folder)
    with ExitStack() as stack:
        prometheus = stack.enter_context(start_prometheus(run.root, folder / "prometheus"))
        console.print(f"run folder {run.root}, Prometheus at {prometheus.url}", soft_wrap=True, highlight=False)
        up = start_role("up", ["up", str(settings)], logs=folder / "up")
        stack.callback(up.kill)
        queue = stack.enter_context(_queue_of(config, run, ends=time.monotonic() + PATIENCE_S, check=up.check))
        timeline = Timeline(registry=run.registry_url(config), prometheus=prometheus, console=console)
        scenario = Scenario(
            config=config,
            timeline=timeline,
            stream=stream,
            check=lambda: _still(up),
            backlog=lambda: stream.given - _read(queue),
            show=lambda moment: _keep_status(run.root, folder / f"status-{moment}.txt"),
            patience_s=PATIENCE_S,
        )
        try:
            scenario.run()
        finally:
            timeline.write(folder / "timeline.json")
        up.ask_to_stop()
        up.wait(_STOPPING_S)
        return scenario.outcome


def _queue_of(config: RunConfig, run: RunFolder, *, ends: float, check: Any) -> LabelQueue:
    """Join the run's embedded Redis as soon as `up` has started it: who starts it owns it."""
    while not list((run.root / "endpoints").glob("*.json")):
        check()
        if time.monotonic() > ends:
            raise XpmStreamError(f"`up` did not start any role; see {run.root.parent / 'up'}")
        time.sleep(0.2)
    return open_queue_of(config)


def _keep_status(run: Path, output: Path) -> None:
    """Keep what the terminal would show, and the exit status below it."""
    command = [sys.executable, "-m", "xpm_stream.cli.main", "status", str(run)]
    variables = os.environ | {"COLUMNS": "100", "TERM": "dumb"}
    answer = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=60, check=False)
    output.write_text(f"{answer.stdout}{answer.stderr}exit status {answer.returncode}\n", encoding="utf-8")


def _still(up: Child) -> None:
    """Raise if `up` has ended: a watched stream has no end."""
    if up.check():
        raise XpmStreamError("`up` ended by itself")


def _read(queue: LabelQueue) -> int:
    """Shards read to their end. What a labeler has not heard of yet is in no ledger."""
    stats = queue.stats()
    return stats.shards_finished + stats.shards_failed


def main(given: Sequence[str] | None = None) -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to keep everything; default: a temporary folder")
    asked = parser.parse_args(given)
    console = Console()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="xpm-operate-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"error: {folder} is not empty; name a new folder")
    try:
        outcome = play(folder.resolve(), console=console)
    except (XpmStreamError, PrometheusMissing) as error:
        sys.exit(f"error: {error}")
    table = Table(title=f"What came of it (times of the rules divided by {HASTE})", title_justify="left")
    table.add_column("what was done", overflow="fold")
    table.add_column("what came of it", overflow="fold")
    for what, came in outcome:
        table.add_row(what, came)
    console.print(table)
    if asked.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        console.print(
            f"look at it: xpm-stream report {folder / 'run'}; what `status` said is in {folder}", soft_wrap=True
        )
