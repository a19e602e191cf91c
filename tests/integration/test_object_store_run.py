"""Runs whose shards, and whose registry, are in an object store: a real S3 server, which nobody reaches for a while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cut_proxy import CutProxy
from object_servers import BUCKET, cuttable_s3, missing_for_s3, s3_server
from processes import Run, check_finished, until
from small_runs import CAPTION_IMAGES, MakeRun

from xpm_stream.data.synthetic import CorpusPaths
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import open_store

PASSES = 3


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    if (missing := missing_for_s3()) is not None:
        pytest.skip(missing)
    with s3_server() as address:
        yield address


@pytest.fixture(scope="module")
def in_the_bucket(endpoint: str, corpus: CorpusPaths, data: dict[str, Any]) -> dict[str, Any]:
    """The `data` section that reads the captions from the store."""
    import s3fs

    store = s3fs.S3FileSystem(endpoint_url=endpoint, key="test", secret="test", skip_instance_cache=True)
    store.put(f"{corpus.caption_shards}/", f"{BUCKET}/captions/", recursive=True)
    return {**data, "shards": [f"s3://{BUCKET}/captions/*.tar"], "passes": PASSES}


@pytest.fixture
def reached(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CutProxy]:
    """The way to the store, for this process and those it starts."""
    with cuttable_s3(endpoint, monkeypatch, attempts=2) as proxy:
        yield proxy


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shards_checkpoints_and_promotions_of_a_whole_run_are_in_an_object_store(
    make_run: MakeRun, in_the_bucket: dict[str, Any], untrained_teacher: str, reached: CutProxy
) -> None:
    registry = f"s3://{BUCKET}/registry"
    run = make_run("stored", data=in_the_bucket, registry={"url": registry}, teacher={"checkpoint": untrained_teacher})
    run.start("up").succeeds()
    totals = check_finished(run.account(), samples=PASSES * CAPTION_IMAGES).totals()
    assert totals["trained"] > 0
    assert totals["dead"] == 0
    promoted = [entry.checkpoint for entry in PromotionLog(registry).entries() if entry.action == "promote"]
    assert len(promoted) > 1
    listed = run.start("checkpoints", "list", registry).succeeds()
    assert all(str(name) in listed for name in promoted)
    assert not list(run.folder.glob("registry/*")), "nothing was written beside the store"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_store_that_is_away_is_waited_for_and_costs_no_sample(
    make_run: MakeRun, in_the_bucket: dict[str, Any], untrained_teacher: str, reached: CutProxy
) -> None:
    run = make_run(
        "waiting",
        data=in_the_bucket,
        teacher={"checkpoint": untrained_teacher},
        queue={"store_patience_s": 120.0},
        labeler={"workers": 2},
    )
    up = run.start("up")
    until(lambda: run.logged("trainer", "checkpoint"), what="the first checkpoint")
    reached.cut()
    until(lambda: _put_off(run), what="a labeler's note that the store is away")
    reached.restore()
    up.succeeds()
    totals = check_finished(run.account(), samples=PASSES * CAPTION_IMAGES).totals()
    assert totals["trained"] > 0
    assert totals["dead"] == 0


def _waiting(run: Run, role: str) -> list[dict[str, Any]]:
    return run.logged(role, "waiting for the registry")


def _put_off(run: Run) -> list[dict[str, Any]]:
    return [event for worker in (0, 1) for event in run.logged(f"labeler-{worker}", "shard put off")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_registry_that_is_away_is_waited_for(
    make_run: MakeRun, data: dict[str, Any], untrained_teacher: str, reached: CutProxy
) -> None:
    url = f"s3://{BUCKET}/waited-for"
    teacher = {"checkpoint": untrained_teacher}
    patient = {"url": url, "retry_for_s": 200.0}
    run = make_run("away", data={**data, "passes": PASSES}, registry=patient, teacher=teacher)
    up = run.start("up")
    until(lambda: run.logged("trainer", "checkpoint"), what="the first checkpoint")
    reached.cut()
    # The promoter asks all the time; the others as long as there is something to label, or a checkpoint to write.
    until(lambda: _waiting(run, "promoter"), what="the promoter waiting")
    until(lambda: _waiting(run, "trainer") or _waiting(run, "labeler-0"), what="the trainer or the labeler waiting")
    reached.restore()
    up.succeeds()
    check_finished(run.account(), samples=PASSES * CAPTION_IMAGES)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_registry_that_stays_away_ends_the_run_with_one_line_and_the_next_start_goes_on(
    make_run: MakeRun, data: dict[str, Any], untrained_teacher: str, reached: CutProxy
) -> None:
    url = f"s3://{BUCKET}/gone"
    teacher = {"checkpoint": untrained_teacher}
    run = make_run("gone", data={**data, "passes": PASSES}, registry={"url": url, "retry_for_s": 2.0}, teacher=teacher)
    up = run.start("up")
    until(lambda: run.logged("trainer", "checkpoint"), what="the first checkpoint")
    reached.cut()
    error = up.fails()
    assert f"the registry {url}" in error
    assert "does not answer" in error
    reached.restore()
    run.start("up").succeeds()
    check_finished(run.account(), samples=PASSES * CAPTION_IMAGES)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("adopted", [True, False], ids=["adopted", "taught"])
def test_a_first_teacher_whose_upload_was_cut_short_is_uploaded_again(
    make_run: MakeRun, data: dict[str, Any], untrained_teacher: str, reached: CutProxy, adopted: bool
) -> None:
    url = f"s3://{BUCKET}/cut-short-{adopted}"
    run = make_run(
        "cut", data=data, registry={"url": url}, teacher={"checkpoint": untrained_teacher} if adopted else {}
    )
    killed = run.start("teach", crash_at="checkpoint.after_first_file")
    killed.dies()
    (half,) = open_store(f"{url}/checkpoints").names("")
    run.start("up").succeeds()
    first = PromotionLog(url).entries()[0]
    assert (first.action, first.checkpoint) == ("promote", f"{half}-2")


def test_a_store_without_credentials_is_one_clear_line(
    make_run: MakeRun, in_the_bucket: dict[str, Any], untrained_teacher: str, reached: CutProxy, tmp_path: Path
) -> None:
    run = make_run("locked", data=in_the_bucket, teacher={"checkpoint": untrained_teacher})
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    error = run.start("up", environment=nobody).fails()
    assert "s3://models/captions/*.tar" in error
    assert "credentials" in error
