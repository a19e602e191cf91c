"""`xpm-stream datasets coco-captions`; the commands for LVIS and Open Images are tested beside what they read."""

from __future__ import annotations

from pathlib import Path

from asking import Ask, Refused

from xpm_stream.data.shard_urls import expand_shard_urls


def test_coco_captions_become_shards(ask: Ask, refused: Refused, coco_tiny: Path, tmp_path: Path) -> None:
    captions = coco_tiny / "annotations" / "captions_train2017.json"
    given = ["--captions", captions, "--images", coco_tiny / "train2017", "--samples-per-shard", 32]
    answer = ask("datasets", "coco-captions", tmp_path / "shards", *given)
    assert answer.status == 0, answer
    assert "3 shards, 80 images with" in answer.out
    assert len(expand_shard_urls([str(tmp_path / "shards" / "*.tar")])) == 3
    assert "already" in refused("datasets", "coco-captions", tmp_path / "shards", *given)
