"""The promotion log: one winner for each number, the champion, rollbacks and revocations."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.errors import PromotionConflict, RegistryError
from xpm_stream.records import TeacherVersion
from xpm_stream.registry import PromotionEntry, PromotionLog


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path / "registry") if request.param == "local" else f"memory://{tmp_path.name}/registry"
    fsspec.filesystem("memory").store.clear()


def promote(log: PromotionLog, checkpoint: str) -> PromotionEntry:
    return log.append("promote", checkpoint=checkpoint, epoch=1, step=10, by="test")


def test_an_empty_log_has_no_champion(url: str) -> None:
    log = PromotionLog(url)
    assert (log.entries(), log.champion(), log.revoked(), log.pending_candidates()) == ([], None, frozenset(), [])
    assert log.lag(0) == 0


def test_another_reader_sees_what_was_appended(url: str) -> None:
    reader, writer = PromotionLog(url), PromotionLog(url, clock=lambda: 12.5)
    assert reader.poll(0) == []
    entry = writer.append(
        "promote", checkpoint="t0", epoch=0, step=90, by="pretraining", reasons=["first"], checks={"base_ap50": 0.4}
    )
    assert reader.poll(0) == [entry]
    assert reader.poll(1) == []
    assert reader.champion() == entry
    assert entry.teacher == TeacherVersion(promotion=1, epoch=0, step=90)
    assert (entry.created_at_s, entry.reasons, entry.checks) == (12.5, ["first"], {"base_ap50": 0.4})


def test_a_candidate_is_proposed_once_and_decided_once(url: str) -> None:
    trainer, promoter = PromotionLog(url), PromotionLog(url)
    first = trainer.propose("s10", epoch=1, step=10)
    second = trainer.propose("s20", epoch=1, step=20)
    assert PromotionLog(url).propose("s10", epoch=1, step=10) == first, "a trainer that resumes proposes again"
    assert promoter.pending_candidates() == [first, second]
    entry = promoter.append("refuse", candidate=first.number, by="promoter", reasons=["base AP fell"])
    assert (entry.checkpoint, entry.epoch, entry.step, entry.candidate) == ("s10", 1, 10, 1)
    assert promoter.pending_candidates() == [second]
    assert promoter.champion() is None
    with pytest.raises(PromotionConflict, match=r"entry 1 of .* already decides candidate 1"):
        promoter.append("promote", candidate=first.number, by="promoter")
    with pytest.raises(RegistryError, match="no candidate 9"):
        promoter.append("promote", candidate=9, by="promoter")


def test_a_decision_that_rests_on_an_older_log_is_a_conflict(url: str) -> None:
    slow, fast = PromotionLog(url), PromotionLog(url)
    seen = len(slow.entries())
    promote(fast, "t0")
    with pytest.raises(PromotionConflict, match="has 1 entries, the decision rests on 0"):
        slow.append("promote", checkpoint="t1", by="slow", after=seen)
    assert slow.append("promote", checkpoint="t1", by="slow", after=1).number == 2


def test_a_rollback_points_at_an_earlier_promotion_and_becomes_champion(url: str) -> None:
    log = PromotionLog(url)
    promote(log, "t0")
    promote(log, "t1")
    rollback = log.append("rollback", target=1, by="operator", reasons=["masks look worse"])
    champion = log.champion()
    assert champion == rollback
    assert (rollback.checkpoint, rollback.target, rollback.teacher.promotion) == ("t0", 1, 3)
    again = log.append("rollback", target=rollback.number, by="operator")
    assert again.target == 1, "a rollback to a rollback points at the promotion itself"


def test_a_revoked_teacher_is_no_champion_nor_are_its_rollbacks(url: str) -> None:
    log = PromotionLog(url)
    for name in ("t0", "t1", "t2"):
        promote(log, name)
    log.append("rollback", target=2, by="operator")
    log.append("revoke", target=2, by="operator", reasons=["trained on a broken shard"])
    assert log.revoked() == {2, 4}
    champion = log.champion()
    assert champion is not None
    assert champion.number == 3
    with pytest.raises(RegistryError, match="its teacher is revoked"):
        log.append("rollback", target=2, by="operator")
    with pytest.raises(RegistryError, match="promotions are: 1, 2, 3, 4"):
        log.append("revoke", target=5, by="operator")
    log.append("revoke", target=3, by="operator")
    log.append("revoke", target=1, by="operator")
    assert log.champion() is None


def test_lag_counts_the_promotions_that_stand_between(url: str) -> None:
    log = PromotionLog(url)
    for name in ("t0", "t1", "t2"):
        promote(log, name)
    log.append("refuse", checkpoint="t3", by="promoter")
    assert [log.lag(number) for number in (0, 1, 2, 3)] == [3, 2, 1, 0]
    log.append("revoke", target=3, by="operator")
    assert [log.lag(number) for number in (1, 2)] == [1, 0]
    log.append("rollback", target=1, by="operator")
    assert [log.lag(number) for number in (1, 2, 6)] == [0, 1, 0], "labels of the teacher brought back are fresh"


def test_a_judgement_names_a_candidate_or_a_checkpoint_not_both(url: str) -> None:
    log = PromotionLog(url)
    for given_both in ({}, {"candidate": 1, "checkpoint": "a"}):
        with pytest.raises(RegistryError, match="either the candidate's number or a checkpoint"):
            log.append("promote", by="test", **given_both)  # type: ignore[arg-type]


def test_a_damaged_or_newer_entry_is_named(tmp_path: Path) -> None:
    promote(PromotionLog(tmp_path), "t0")
    path = tmp_path / "promotions" / "00000001.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"schema_version": 2}))
    with pytest.raises(RegistryError, match=r"promotions/00000001\.json in .*schema 2.*upgrade"):
        PromotionLog(tmp_path).entries()
    path.write_text("{")
    with pytest.raises(RegistryError, match=r"promotions/00000001\.json in .* is damaged"):
        PromotionLog(tmp_path).entries()


RACER = """
import sys
from xpm_stream.errors import PromotionConflict
from xpm_stream.registry import PromotionLog
log = PromotionLog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for after in range(int(sys.argv[3])):
    while len(log.entries()) < after:
        pass
    try:
        log.append("promote", checkpoint=f"{sys.argv[2]}-{after}", by=sys.argv[2], after=after)
        print(after + 1, flush=True)
    except PromotionConflict:
        pass
"""


def test_racing_processes_give_each_number_one_winner(tmp_path: Path) -> None:
    rounds, racers = 60, 4
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), f"p{index}", str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(racers)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    won: dict[int, list[str]] = {}
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for index, process in enumerate(processes):
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        for number in map(int, output.split()):
            won.setdefault(number, []).append(f"p{index}")
    entries = PromotionLog(tmp_path).entries()
    assert {number: [winner] for number, winner in enumerate((entry.by for entry in entries), start=1)} == won
    assert len(entries) == rounds
    assert sorted(path.name for path in (tmp_path / "promotions").iterdir()) == [
        f"{number:08d}.json" for number in range(1, rounds + 1)
    ]


def test_racing_threads_give_each_number_one_winner_in_memory() -> None:
    rounds, racers = 40, 4
    barrier = threading.Barrier(racers)
    won: list[int] = []

    def race(name: str) -> None:
        log = PromotionLog("memory://race/registry")
        for after in range(rounds):
            barrier.wait()
            with contextlib.suppress(PromotionConflict):
                won.append(log.append("promote", checkpoint=name, by=name, after=after).number)
            barrier.wait()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # let threads interrupt one another between looking and writing
    threads = [threading.Thread(target=race, args=(f"t{index}",)) for index in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert sorted(won) == list(range(1, rounds + 1))
    fsspec.filesystem("memory").store.clear()


@given(
    st.lists(st.tuples(st.sampled_from(["promote", "refuse", "rollback", "revoke"]), st.integers(1, 8)), max_size=12)
)
def test_the_champion_is_always_the_last_promotion_whose_origin_is_not_revoked(steps: list[tuple[str, int]]) -> None:
    fsspec.filesystem("memory").store.clear()
    log = PromotionLog("memory://law/registry")
    origins: dict[int, int] = {}
    revoked: set[int] = set()
    for action, target in steps:
        number = len(log.entries()) + 1
        if action in ("promote", "refuse"):
            log.append(action, checkpoint=f"c{number}", by="law")  # type: ignore[arg-type]
            if action == "promote":
                origins[number] = number
        elif target in origins and not (action == "rollback" and origins[target] in revoked):
            log.append(action, target=target, by="law")  # type: ignore[arg-type]
            if action == "rollback":
                origins[number] = origins[target]
            else:
                revoked.add(origins[target])
        else:
            with pytest.raises(RegistryError):
                log.append(action, target=target, by="law")  # type: ignore[arg-type]
    live = [number for number, origin in origins.items() if origin not in revoked]
    champion = log.champion()
    assert (champion.number if champion else None) == (live[-1] if live else None)
    assert log.revoked() == {number for number, origin in origins.items() if origin in revoked}
    if champion:
        assert log.lag(champion.number) == 0
        assert champion.checkpoint == f"c{origins[champion.number]}"
