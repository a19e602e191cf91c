"""Shards that are rewritten or vanish while a run works on them: no sample is taken for another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stub_runs import MakeStubRun, StubRun

from xpm_stream.label_queue import LabelQueue

pytestmark = pytest.mark.slow
QueueOf = Callable[[StubRun], LabelQueue]


def test_an_image_that_was_rewritten_after_it_was_labelled_is_not_trained(
    stub_run: MakeStubRun, queue_of: QueueOf
) -> None:
    run = stub_run(shards=2, samples_per_shard=100, queue={"max_unacked_labels": 1000})
    first, second = sorted(Path(run.config.data.shards[0]).parent.glob("*.tar"))
    content = second.read_bytes()
    second.unlink()
    queue = queue_of(run)
    run.start("promote")
    run.start("label")
    run.until(lambda: queue.stats().shards_finished, what="labels")
    first.write_bytes(content)  # sample 100 + i where sample i was
    run.start("train").join(60)
    assert run.trained() == 0, "samples 0-99 were labelled; 100-199 are in the weights"
    assert queue.stats().dead == {"image_changed": 90}
    assert all(str(first) in letter.detail for letter in queue.dead_letters())
