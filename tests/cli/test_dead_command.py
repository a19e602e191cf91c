"""`xpm-stream dead`: what it lists and shows, what replay and purge do to the account, and what mistakes are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import psutil
import pytest
import yaml
from asking import Ask, Refused

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import CommitBatch, Cursor, DeadLetter, LabelQueue, Reject, ShardRecord, TrainedLedger
from xpm_stream.label_queue import connect as connected
from xpm_stream.records import (
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)
from xpm_stream.stages.dead_letters import Choice, Letters

TABLE_WIDTH = 160


def label(sample: SampleId) -> LabelMessage:
    instance = PseudoInstance(
        word="dog", box_xyxy=(0.0, 0.0, 8.0, 8.0), mask_bits=bytes(98), score=0.75, reliability=0.5
    )
    return LabelMessage(
        method="xpm",
        sample=sample,
        teacher=TeacherVersion(3, 1, 40),
        image=ImageReference(url="s3://bucket/a.tar", offset=1536, size=4321),
        image_size_wh=(640, 480),
        words=["dog", "frisbee"],
        annotation=InstanceAnnotation(instances=[instance]),
        labelled_at_s=1.7e9,
        key="000042",
    )


@pytest.fixture
def letters(queue: LabelQueue) -> list[DeadLetter]:
    """Two broken images of one shard, a label that failed, and one nobody can read; two more labels wait."""
    queue.add_shards([ShardRecord(url=f"s3://bucket/{name}.tar", shard_id=ShardId(name)) for name in "ab"])
    lease = queue.acquire("labeler-0")
    assert lease is not None
    labels = [label(lease.shard.sample(ordinal)) for ordinal in (2, 3, 4)]
    rejects = [Reject(ordinal=o, reason="image_broken", detail="cut [off]\nat 3", byte_offset=512 * o) for o in (0, 1)]
    queue.commit(lease, CommitBatch(cursor=Cursor(5, 9000), labels=labels, rejects=rejects, finished=True))
    queue.raise_epoch()
    held = queue.read("rank0", count=3)
    queue.dead_letter(held[0], reason="train_error", detail="loss is nan")
    queue.dead_letter(held[1], reason="message_invalid", detail="boom")
    return list(queue.dead_letters())


def account(queue: LabelQueue) -> dict[str, int]:
    report = queue.audit(TrainedLedger())
    assert report.ok, report.problems()
    return {name: number for name, number in report.totals().items() if number}


def test_letters_are_listed_with_reason_and_place_and_counted(
    ask: Ask, folder: Path, letters: list[DeadLetter]
) -> None:
    said = ask("dead", "list", folder).out
    for letter in letters:
        assert letter.letter_id in said
    assert "a.tar #1 @512" in said
    assert "cut [off] at 3" in said
    assert re.search(r"labeler\W+image_broken\W+2\b", said)
    assert re.search(r"trainer\W+train_error\W+1\b", said)
    assert max(map(len, said.splitlines())) <= TABLE_WIDTH


def test_what_is_listed_can_be_narrowed(ask: Ask, folder: Path, letters: list[DeadLetter]) -> None:
    def listed(*options: str) -> list[str]:
        return [json.loads(line)["id"] for line in ask("dead", "list", folder, "--json", *options).out.splitlines()]

    ids = [letter.letter_id for letter in letters]
    assert listed() == ids
    assert listed("--reason", "train_error") == ids[2:3]
    assert listed("--side", "labeler") == ids[:2]
    assert listed("--shard", "a.tar") == ids
    assert listed("--shard", "s3://bucket/b*") == []
    assert listed("--limit", "1", "--after", ids[0]) == ids[1:2]
    said = ask("dead", "list", folder, "--limit", "1").out
    assert f"... and 3 more: --after {ids[0]}" in said
    assert "4 dead letters" in said


def test_one_letter_is_shown_with_all_it_holds(ask: Ask, folder: Path, letters: list[DeadLetter]) -> None:
    said = ask("dead", "show", folder, letters[2].letter_id).out
    for part in ("loss is nan", "train_error", "000042", "dog, frisbee", "0.750", "promotion 3 (epoch 1, step 40)"):
        assert part in said
    assert "4,321 bytes at byte 1,536 of s3://bucket/a.tar, 640 x 480 pixels" in said
    said = ask("dead", "show", folder, letters[1].letter_id).out
    assert "s3://bucket/a.tar@512" in said
    assert "none: a replay reads the shard again" in said


def test_a_replay_sends_labels_to_the_trainer_and_the_rest_to_the_labelers(
    ask: Ask, folder: Path, queue: LabelQueue, letters: list[DeadLetter]
) -> None:
    assert account(queue) == {"samples": 5, "dead": 4, "queued": 1}
    assert (
        "1 of 1 replayed: 1 to the trainer, 0 to the labelers"
        in ask("dead", "replay", folder, letters[2].letter_id).out
    )
    assert account(queue) == {"samples": 5, "dead": 3, "queued": 2}
    assert "2 of 2 replayed: 0 to the trainer, 2" in ask("dead", "replay", folder, "--reason", "image_broken").out
    assert account(queue) == {"samples": 5, "dead": 1, "queued": 2, "relabels": 2}
    assert "1 of 1 replayed: 0 to the trainer, 1" in ask("dead", "replay", folder, "--all").out
    assert account(queue) == {"samples": 5, "queued": 2, "relabels": 3}
    assert queue.stats().dead == {}
    assert "0 of 0 replayed" in ask("dead", "replay", folder, "--all").out


def test_a_letter_without_a_sample_is_kept_and_named(ask: Ask, folder: Path, queue: LabelQueue) -> None:
    queue.edge.client.xadd(queue.keys.labels, {"m": b"garbage"})
    queue.raise_epoch()
    queue.dead_letter(queue.read("rank0", count=1)[0], reason="message_invalid", detail="x")
    (letter,) = queue.dead_letters()
    said = ask("dead", "replay", folder, "--all").out
    assert f"1 could not be, because they name no sample: {letter.letter_id}" in said
    assert "unreadable: " in ask("dead", "show", folder, letter.letter_id).out
    assert "it names none" in ask("dead", "show", folder, letter.letter_id).out


def test_a_letter_with_a_label_of_a_newer_release_says_so(ask: Ask, folder: Path, queue: LabelQueue) -> None:
    letter = {"s": "0:a:4", "m": b"\x91\x02", "reason": "image_broken", "side": "trainer", "attempts": 1}
    letter_id = queue.edge.client.xadd(queue.keys.dead, letter).decode()
    assert letter_id in ask("dead", "list", folder).out
    assert "a newer xpm_stream (schema version 2" in ask("dead", "show", folder, letter_id).out


def test_a_purge_asks_and_leaves_the_samples_dead(
    ask: Ask, refused: Refused, folder: Path, queue: LabelQueue, letters: list[DeadLetter]
) -> None:
    assert "gives the samples of 2 dead letters up for good: say --yes" in refused(
        "dead", "purge", folder, "--side", "labeler"
    )
    assert len(list(queue.dead_letters())) == 4
    assert "2 of 2 purged" in ask("dead", "purge", folder, "--side", "labeler", "--yes").out
    assert [letter.letter_id for letter in queue.dead_letters()] == [letter.letter_id for letter in letters[2:]]
    assert account(queue) == {"samples": 5, "dead": 4, "queued": 1}
    assert ask("dead", "replay", folder, "--all").status == 0
    assert account(queue) == {"samples": 5, "dead": 2, "queued": 2, "relabels": 1}


def test_mistakes_are_named(refused: Refused, folder: Path, tmp_path: Path, letters: list[DeadLetter]) -> None:
    for command in ("show", "replay", "purge"):
        assert "there is no dead letter 1-1" in refused("dead", command, folder, "1-1")
        assert "'frog' is no dead letter's id" in refused("dead", command, folder, "frog")
    assert "by reason there are: image_broken (2), " in refused("dead", "replay", folder, "--reason", "nonsense")
    assert "say which letters" in refused("dead", "replay", folder)
    assert "say which letters" in refused("dead", "purge", folder, "--all", "--reason", "x", "--yes")
    assert "config.yaml" in refused("dead", "list", tmp_path)


def test_a_redis_that_is_away_is_one_line(refused: Refused, folder: Path) -> None:
    away = {"folder": str(folder), "redis": {"url": f"unix://{folder}/none.sock", "retry_for_s": 0.2}}
    (folder / "config.yaml").write_text(yaml.safe_dump(away))
    for command in (["dead", "list"], ["shards", "list"], ["shards", "retry"]):
        assert "none.sock cannot be reached" in refused(*command, folder)


def test_letters_that_come_while_a_replay_runs_are_not_in_it(queue: LabelQueue, letters: list[DeadLetter]) -> None:
    work = Letters(queue)
    choice, number = work.settle(Choice())
    assert number == 4
    queue.edge.client.xadd(queue.keys.dead, {"s": "0:a:4", "reason": "late", "side": "labeler"})
    assert work.replay(choice).to_relabel == 3
    (left,) = queue.dead_letters()
    assert left.reason == "late"


@pytest.mark.slow
def test_a_hundred_thousand_letters_are_listed_in_bounded_memory(ask: Ask, folder: Path, queue: LabelQueue) -> None:
    ask("dead", "list", folder)  # what is imported is not counted below
    for _ in range(100):
        with queue.edge.client.pipeline(transaction=False) as pipe:
            for number in range(1000):
                letter = {"s": f"0:a:{number}", "reason": "x", "detail": "y" * 300, "side": "labeler"}
                pipe.xadd(queue.keys.dead, letter)
            pipe.execute()
        del pipe
    before = psutil.Process().memory_info().rss
    assert "100,000 dead letters" in ask("dead", "list", folder).out
    grown = psutil.Process().memory_info().rss - before
    assert grown < 12 * 2**20, "all letters are 100 MB"


def test_the_commands_work_after_the_run_has_ended(ask: Ask, folder: Path, config: RunConfig) -> None:
    with connected(config.redis, config.queue, run_folder=folder) as queue:
        queue.add_shards([ShardRecord(url="s3://bucket/a.tar", shard_id=ShardId("a"))])
        lease = queue.acquire("labeler-0")
        assert lease is not None
        rejects = [Reject(ordinal=0, reason="image_broken")]
        queue.commit(lease, CommitBatch(cursor=Cursor(1, 512), rejects=rejects, finished=True))
    assert "1 dead letter\n" in ask("dead", "list", folder).out
    assert "1 of 1 replayed" in ask("dead", "replay", folder, "--all").out
    said = ask("shards", "list", folder, "--json").out
    assert msgspec.json.decode(said)["dead"] == {}
    with connected(config.redis, config.queue, run_folder=folder) as queue:
        assert account(queue) == {"samples": 1, "relabels": 1}
