"""`xpm-stream labels export`: what it writes and prints, and what mistakes are told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import Ask, Refused
from label_runs import WITHOUT_NOUNS, captioned, label_all, make_run, promote_teacher, write_members

from xpm_stream.label_queue import start_or_join
from xpm_stream.registry.promotion_log import PromotionLog

FULL_DISK = """
import resource, signal
from xpm_stream.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
main()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run whose five labels wait; a sixth sample has no nouns."""
    root = tmp_path_factory.mktemp("labels")
    write_members(root / "a.tar", [*captioned(0, 5), captioned(5, 1)[0], ("0005.txt", WITHOUT_NOUNS.encode())])
    config = make_run(root / "run", data={"shards": [str(root / "a.tar")]})
    promote_teacher(config)
    with start_or_join(config.redis, run_folder=root / "run"):
        label_all(config, shards=1)
        yield root / "run"


def test_the_champions_labels_are_written_in_both_forms_and_accounted_for(ask: Ask, run: Path, tmp_path: Path) -> None:
    coco, shards = tmp_path / "out" / "coco", tmp_path / "out" / "shards"
    answer = ask("labels", "export", run, "--coco", coco, "--webdataset", shards, "--samples-per-shard", 2)
    assert answer.status == 0, answer
    written = json.loads((coco / "annotations.json").read_bytes())
    assert len(written["images"]) == 5
    assert len(list(shards.glob("*.tar"))) == 3
    assert re.search(rf"exported\W+5\W+{len(written['annotations'])}\b", answer.out)
    assert re.search(r"left out\W+no_nouns\W+1\b", answer.out)
    assert "by teacher-0 (v1): 5 samples" in answer.out
    assert f"written: {coco}\nwritten: {shards}\n" in answer.out


def test_the_labels_that_wait_are_written_with_filters(ask: Ask, run: Path, tmp_path: Path) -> None:
    answer = ask("labels", "export", run, "--waiting", "--coco", tmp_path / "coco", "--words", "Dog, umbrella,dogs")
    assert answer.status == 0, answer
    written = json.loads((tmp_path / "coco" / "annotations.json").read_bytes())
    assert {one["name"] for one in written["categories"]} == {"dog", "umbrella"}
    assert "other_word" in answer.out
    assert "nothing was exported of: dogs\n" in answer.out
    assert "nothing_wanted" in answer.out
    assert "no_nouns" not in answer.out, "such a sample is not on the queue"


def test_an_export_of_nothing_says_why_and_fails(ask: Ask, run: Path, tmp_path: Path) -> None:
    answer = ask("labels", "export", run, "--coco", tmp_path / "coco", "--min-score", 1, "--min-reliability", 1)
    assert answer.status == 1
    assert re.search(r"left out\W+nothing_wanted\W+5\b", answer.out)
    assert answer.err == (
        "error: nothing to export: no sample has an instance that is wanted; nothing was written\n"
    ), answer.err
    assert not list(tmp_path.iterdir())


def test_mistakes_are_told(refused: Refused, run: Path, tmp_path: Path) -> None:
    coco = tmp_path / "coco"
    assert "say what to write" in refused("labels", "export", run)
    assert "leave out --teacher" in refused("labels", "export", run, "--waiting", "--teacher", "1", "--coco", coco)
    assert "has no entry 9" in refused("labels", "export", run, "--teacher", "9", "--coco", coco)
    assert "there is no checkpoint 'none'" in refused("labels", "export", run, "--teacher", "none", "--coco", coco)
    assert "does not exist" in refused("labels", "export", run, "--shards", tmp_path / "no.tar", "--coco", coco)
    assert "is no run folder" in refused("labels", "export", tmp_path, "--coco", coco, "--shards", run.parent / "a.tar")
    assert "names none" in refused("labels", "export", run, "--words", " , ", "--coco", coco)
    assert "exists" in refused("labels", "export", run, "--coco", ".")
    for shards in (coco, coco / "shards", tmp_path):
        assert "side by side" in refused("labels", "export", run, "--coco", coco, "--webdataset", shards)
    assert "is a URL" in refused("labels", "export", run, "--coco", "s3://bucket/coco")
    coco.mkdir()
    assert "coco exists: nothing is overwritten" in refused("labels", "export", run, "--coco", coco)
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]


@pytest.mark.parametrize("form", ["coco", "webdataset"])
def test_a_full_disk_is_told_and_leaves_nothing(run: Path, tmp_path: Path, form: str) -> None:
    arguments = ["labels", "export", str(run), "--waiting", f"--{form}", str(tmp_path / "out")]
    # A file that may not grow fails as one on a full disk does: a write that names no file.
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True, check=False, timeout=200
    )
    assert answer.returncode == 1
    assert re.fullmatch(r"error: cannot write \S+/out: File too large; nothing was written\n", answer.stderr), answer
    assert not list(tmp_path.iterdir())


def test_shards_added_later_are_labelled_and_a_revoked_teacher_is_said(ask: Ask, tmp_path: Path) -> None:
    for place, name in enumerate("ab"):
        write_members(tmp_path / f"{name}.tar", captioned(4 * place, 4))
    config = make_run(tmp_path / "run", data={"shards": [str(tmp_path / "a.tar")]})
    promote_teacher(config, seed=0)
    promote_teacher(config, seed=1)
    with start_or_join(config.redis, run_folder=tmp_path / "run"):
        label_all(config, shards=1)
        assert ask("shards", "add", tmp_path / "run", tmp_path / "b.tar").status == 0
        PromotionLog(f"{config.folder}/registry").append("revoke", by="test", target=2, reasons=["wrong"])
        again = ask("labels", "export", tmp_path / "run", "--teacher", 2, "--coco", tmp_path / "again")
        champion = ask("labels", "export", tmp_path / "run", "--coco", tmp_path / "champion")
        waiting = ask("labels", "export", tmp_path / "run", "--waiting", "--coco", tmp_path / "waiting")
    assert "2 shards read; by teacher-1 (v2, revoked): 8 samples" in again.out, again
    assert "2 shards read; by teacher-0 (v1): 8 samples" in champion.out, champion
    assert "1 shard read; by teacher-1 (v2, revoked): 4 samples" in waiting.out, waiting
    for name, revoked in (("again", True), ("champion", False), ("waiting", True)):
        written = json.loads((tmp_path / name / "annotations.json").read_bytes())
        assert {one["teacher"]["revoked"] for one in written["images"] + written["annotations"]} == {revoked}


def test_a_run_folder_without_its_redis_says_which_shards_it_knows(ask: Ask, tmp_path: Path) -> None:
    write_members(tmp_path / "a.tar", captioned(0, 1))
    promote_teacher(make_run(tmp_path / "run", data={"shards": [str(tmp_path / "a.tar")]}))
    answer = ask("labels", "export", tmp_path / "run", "--coco", tmp_path / "coco")
    assert answer.status == 0
    assert "no Redis data: only the shards of data.shards are labelled" in answer.out
