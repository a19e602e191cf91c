"""The shipped configuration for real COCO images, made quick: packed, taught, streamed, promoted, evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import REPOSITORY, Run, check_finished

from xpm_stream.monitoring.summary import read_summary

QUICK = {
    "data.passes": 1,
    "teacher.steps": 2,
    "teacher.batch_images": 2,
    "model.image_size": 96,
    "model.max_image_size": 128,
    "model.num_proposals": 20,
    "model.num_rois": 16,
    "trainer.batch_base": 2,
    "evaluation.max_images": 4,
    "promotion.gates.enabled": False,  # what students of a few steps do is arbitrary
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("coco_tiny")
def test_real_images_reach_two_promotions_and_every_caption_image_is_accounted_for(
    tmp_path: Path, text_cache: Path
) -> None:
    run = Run(tmp_path / "run", REPOSITORY / "configs" / "coco_tiny.yaml")
    changes = {**QUICK, "folder": run.folder, "text.cache": text_cache}
    try:
        said = run.start("up", *[part for item in changes.items() for part in ("--set", "=".join(map(str, item)))])
        assert "Promotions" in said.succeeds()
        assert not run.processes()
    finally:
        run.end()
    done = Run(run.folder, run.folder / "config.yaml")
    audit = check_finished(done.account(), samples=80)
    assert audit.totals()["dead"] == 0
    summary = read_summary(run.folder / "summary.json")
    assert sum(entry.action == "promote" for entry in summary.promotions) >= 3  # the first teacher, and two students
    assert {"base", "target", "all"} <= set(summary.models["final_student"].generalized)
    assert (run.folder / "pictures" / "pseudo_labels.png").stat().st_size > 10_000
