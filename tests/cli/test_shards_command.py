"""`xpm-stream shards`: the ledger as people see it, and what add, retry, again and watch do to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from asking import Ask, Refused

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, Lease, Reject, TrainedLedger
from xpm_stream.stages.run_account import account_of


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Four shards; the first says it has five samples."""
    made = tmp_path / "shards"
    made.mkdir()
    for name in "abcd":
        (made / f"{name}.tar").write_bytes(bytes(1024))
    (made / "a_stats.json").write_text(json.dumps({"successes": 5}))
    return made


def take(queue: LabelQueue) -> Lease:
    lease = queue.acquire("labeler-0")
    assert lease is not None
    return lease


def finish(queue: LabelQueue, *, note: str | None = None) -> None:
    """Read the next shard to its end: a skipped sample, and a broken one."""
    rejects = [Reject(ordinal=1, reason="image_broken")]
    skips = {"no_nouns": [0]}
    batch = CommitBatch(cursor=Cursor(2, 1024), skips=skips, rejects=rejects, finished=True, note=note)
    queue.commit(take(queue), batch)


@pytest.fixture
def ledger(ask: Ask, folder: Path, queue: LabelQueue, tars: Path) -> LabelQueue:
    """`a` is finished and short, `b` failed, `c` is leased, `d` waits."""
    assert ask("shards", "add", folder, f"{tars}/*.tar").out == "4 shards added, 0 already known\n"
    finish(queue)
    queue.fail_shard(take(queue), reason="403 [forbidden]")
    take(queue)
    return queue


def rows(ask: Ask, folder: Path, *options: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in ask("shards", "list", folder, "--json", *options).out.splitlines()]


def test_shards_are_listed_with_state_and_what_is_wrong(ask: Ask, folder: Path, ledger: LabelQueue, tars: Path) -> None:
    said = ask("shards", "list", folder).out
    assert f"shards below file://{tars}/" in said
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    assert cells[0] == ["0", "finished", "2", "0", "1", "1", "a.tar", "truncated: 2 of 5 samples"]
    assert cells[1] == ["0", "failed", "0", "0", "0", "0", "b.tar", "403 [forbidden]"]
    assert cells[2][:7] == ["0", "leased", "0", "0", "0", "0", "c.tar"]
    assert cells[2][7].startswith("labeler-0, for ")
    assert cells[3] == ["0", "pending", "0", "0", "0", "0", "d.tar", ""]
    assert "4 shards: 1 finished, 1 failed, 1 leased, 1 pending" in said


def test_what_is_listed_can_be_narrowed(ask: Ask, folder: Path, ledger: LabelQueue, tars: Path) -> None:
    def listed(*options: str) -> str:
        return "".join(str(row["url"])[-5] for row in rows(ask, folder, *options))

    assert listed() == "abcd"
    assert listed("--state", "failed") == "b"
    assert listed(f"{tars}/{{c,d}}.tar") == "cd"
    assert listed("b.tar", "a*.tar") == "ab"
    assert listed(str(tars)) == "abcd"
    assert listed(str(rows(ask, folder)[2]["shard_id"])) == "c"
    assert "... and 3 more" in ask("shards", "list", folder, "--limit", "1").out


def test_an_expired_lease_says_so(ask: Ask, folder: Path, queue: LabelQueue, tars: Path) -> None:
    ask("shards", "add", folder, f"{tars}/a.tar")
    queue.acquire("labeler-7", ttl_s=0.001)
    assert "labeler-7, till 0 s ago: free for the next labeler" in ask("shards", "list", folder).out


def test_what_was_never_readable_shows_in_the_audit_and_does_not_fail_it(
    ask: Ask, folder: Path, ledger: LabelQueue
) -> None:
    answer = ask("audit", folder)
    assert answer.status == 0
    assert "never readable: 3 samples" in answer.out


def test_known_shards_are_left_as_they_are(ask: Ask, folder: Path, ledger: LabelQueue, tars: Path) -> None:
    assert ask("shards", "add", folder, f"{tars}/a.tar").out == "0 shards added, 1 already known\n"
    os.utime(tars / "a.tar", (1, 1))
    assert ask("shards", "add", folder, f"{tars}/a.tar").out == "1 shard added, 0 already known\n"


def test_failed_shards_are_read_again(ask: Ask, folder: Path, ledger: LabelQueue) -> None:
    assert ask("shards", "retry", folder, "a.tar").out == "no failed shards there\n"
    assert ask("shards", "retry", folder, "[a-c].tar").out == "1 shard pending again\n"
    assert ask("shards", "retry", folder).out == "no failed shards there\n"
    assert take(ledger).shard.url.endswith("b.tar")


def test_finished_shards_are_streamed_in_a_further_pass_once(
    ask: Ask, folder: Path, config: RunConfig, ledger: LabelQueue
) -> None:
    first = ask("shards", "again", folder).out
    assert first == ("1 shard added in a further pass\n3 shards left alone: the last pass over them is not finished\n")
    assert ask("shards", "again", folder).out.startswith("0 shards added")
    assert ask("shards", "again", folder, "a.tar").out.startswith("0 shards added")
    assert take(ledger).shard.url.endswith("d.tar")
    finish(ledger)
    added = rows(ask, folder)[-1]
    assert (str(added["url"])[-5:], added["pass"], added["samples"]) == ("a.tar", 1, 2)
    assert "1 shard added in a further pass\n" in ask("shards", "again", folder, "a.tar").out
    assert rows(ask, folder)[-1]["pass"] == 2
    report = account_of(config).audit
    assert report.ok
    assert report.totals()["samples"] == 4, "each pass is accounted on its own"


def test_a_named_pass_is_added_whatever_the_state(ask: Ask, folder: Path, ledger: LabelQueue) -> None:
    assert ask("shards", "again", folder, "--pass", "7").out == "4 shards added in a further pass\n"
    assert ask("shards", "again", folder, "--pass", "7", "c.tar").out == (
        "0 shards added in a further pass\n1 shard already in that pass\n"
    )


def test_rewritten_and_missing_shards_are_not_streamed_again(
    ask: Ask, folder: Path, ledger: LabelQueue, tars: Path
) -> None:
    (tars / "a.tar").write_bytes(bytes(2048))
    answer = ask("shards", "again", folder)
    assert (answer.status, answer.out.splitlines()[0]) == (1, "0 shards added in a further pass")
    assert "a.tar has been rewritten: it is a new one" in answer.err
    (tars / "a.tar").unlink()
    assert "a.tar does not exist" in ask("shards", "again", folder).err
    assert ledger.audit(TrainedLedger()).ok


def test_patterns_are_watched_until_that_is_stopped(
    ask: Ask, refused: Refused, folder: Path, queue: LabelQueue, tars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tars)
    said = ask("shards", "watch", folder, "new/*.tar", "s3x/").out
    assert said.splitlines()[:2] == [f"watching {tars}/new/*.tar", f"watching {tars}/s3x"]
    assert "labelers look every 30 s" in said
    assert f"{tars}/s3x is watched already" in ask("shards", "watch", folder, f"{tars}/s3x").out
    assert f"{tars}/new/*.tar  since 20" in ask("shards", "watch", folder, "--list").out
    assert f"watched is: {tars}/new/*.tar, {tars}/s3x" in refused("shards", "watch", folder, "--stop", "nothing")
    assert "1 watched no more" in ask("shards", "watch", folder, "--stop", "new/*.tar").out
    assert list(queue.watched()) == [f"{tars}/s3x"]


def test_mistakes_are_named(refused: Refused, folder: Path, ledger: LabelQueue, tmp_path: Path) -> None:
    for command in ("list", "retry", "again"):
        assert "no shard of this run matches 'z*.tar'" in refused("shards", command, folder, "z*.tar")
        assert "config.yaml" in refused("shards", command, tmp_path)
    assert "z.tar does not exist" in refused("shards", "add", folder, f"{tmp_path}/z.tar")
    assert "would run a command" in refused("shards", "watch", folder, "pipe:cat x")
    assert "name a pattern" in refused("shards", "watch", folder)


def test_a_run_without_shards_says_so(ask: Ask, refused: Refused, folder: Path, queue: LabelQueue) -> None:
    assert ask("shards", "list", folder).out == "0 shards\n"
    assert "this run has no shards yet" in refused("shards", "again", folder)
