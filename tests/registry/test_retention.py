"""Old checkpoints go, step by step; what is in use, wanted or undecided stays."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis_servers import until

from xpm_stream.errors import CheckpointError, RegistryError
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.collector import Collected, Collector
from xpm_stream.registry.following import read_wanted
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.retention import RetentionPolicy

GRACE_S = 1000.0
DAY_S = 86_400.0


@dataclass
class Registry:
    """A registry whose clock the test holds."""

    root: Path
    now_s: float = 1e9
    checkpoints: CheckpointStore = field(init=False)
    log: PromotionLog = field(init=False)
    holds: Holds = field(init=False)

    def __post_init__(self) -> None:
        self.checkpoints = CheckpointStore(self.root / "checkpoints", clock=lambda: self.now_s)
        self.log = PromotionLog(self.root, clock=lambda: self.now_s)
        self.holds = Holds(self.root, clock=lambda: self.now_s)

    def write(self, name: str) -> None:
        self.checkpoints.write(name, {"model.safetensors": name.encode() * 10}, metadata={"step": 7})

    def judge(self, action: str, name: str) -> None:
        self.write(name)
        candidate = self.log.propose(name, epoch=1, step=7)
        self.log.append(action, candidate=candidate.number, by="test")  # type: ignore[arg-type]

    def collect(
        self, *, promotions: int = 2, candidates: int = 1, keep_s: float = 0.0, dry_run: bool = False
    ) -> Collected:
        policy = RetentionPolicy(
            keep_promotions=promotions, keep_candidates=candidates, keep_s=keep_s, keep_unnamed_s=DAY_S
        )
        return Collector(
            checkpoints=self.checkpoints,
            promotions=PromotionLog(self.root),
            holds=self.holds,
            policy=policy,
            remove_after_s=GRACE_S,
            clock=lambda: self.now_s,
        ).collect(dry_run=dry_run)

    def names(self) -> set[str]:
        return {info.name for info in self.checkpoints.list()}

    def later(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.fixture
def old(registry: Registry) -> Registry:
    """Promoted: first, second, third, fourth (the champion). Refused: weak. Second is marked."""
    for name in ("first", "second", "third", "fourth"):
        registry.judge("promote", name)
    registry.judge("refuse", "weak")
    assert set(registry.collect().marked) == {"second"}
    return registry


def test_what_was_decided_lately_stays_whatever_the_counts_say(registry: Registry) -> None:
    for name in ("first", "old", "young", "younger", "champion"):
        registry.later(DAY_S)
        registry.judge("promote", name)
    registry.judge("refuse", "weak")
    registry.judge("refuse", "weaker")
    assert set(registry.collect(promotions=1, keep_s=2.5 * DAY_S, dry_run=True).marked) == {"old"}
    assert set(registry.collect(promotions=1, dry_run=True).marked) == {"old", "young", "younger", "weak"}


def test_what_stays_and_why(registry: Registry) -> None:
    for name in ("first", "second"):
        registry.judge("promote", name)
    registry.judge("refuse", "refused-early")
    for name in ("bad", "third", "fourth", "fifth"):
        registry.judge("promote", name)
    registry.log.append("revoke", target=4, by="test")
    registry.judge("refuse", "refused")
    registry.judge("inconclusive", "inconclusive")
    registry.write("undecided")
    registry.log.propose("undecided", epoch=2, step=9)
    registry.write("unnamed-old")
    registry.later(DAY_S + 1)
    registry.write("unnamed")
    registry.holds.pin("refused-early", by="alice", reason="for the paper")
    collected = registry.collect(promotions=2, candidates=2)
    assert collected.kept == {
        "fifth": "the champion",
        "fourth": "promoted lately",
        "first": "the first teacher",
        "inconclusive": "refused, but lately",
        "refused": "refused, but lately",
        "undecided": "not judged yet",
        "unnamed": "not proposed yet",
        "refused-early": "pinned",
    }
    assert set(collected.marked) == {"second", "third", "bad", "unnamed-old"}


def test_a_rollback_keeps_what_it_went_back_to(registry: Registry) -> None:
    for name in ("first", "second", "third", "fourth"):
        registry.judge("promote", name)
    registry.log.append("rollback", target=2, by="alice")
    assert registry.collect(promotions=1).kept == {"second": "the champion", "first": "the first teacher"}
    registry.log.append("revoke", target=1, by="alice")
    assert registry.collect(promotions=1).kept["first"] == "the first teacher", "the one that the run began with"
    assert registry.collect(promotions=1, candidates=0).kept["second"] == "the champion"


def test_removal_is_announced_and_waits(old: Registry) -> None:
    assert old.names() == {"first", "second", "third", "fourth", "weak"}
    old.later(GRACE_S - 1)
    assert old.collect().waiting == {"second": "removed in 1 s"}
    old.later(2)
    would = old.collect(dry_run=True)
    assert (would.removed, "second" in old.names()) == (["second"], True)
    collected = old.collect()
    assert (collected.removed, collected.removed_bytes) == (["second"], 60)
    assert old.names() == {"first", "third", "fourth", "weak"}
    assert old.holds.marks() == {}
    assert old.collect().removed == []


def test_a_dry_run_writes_nothing(registry: Registry) -> None:
    for name in ("first", "second", "third", "fourth"):
        registry.judge("promote", name)
    assert set(registry.collect(dry_run=True).marked) == {"second"}
    assert registry.holds.marks() == {}


def test_what_is_read_is_not_removed_however_long(old: Registry) -> None:
    with old.holds.lease("second", ttl_s=2 * GRACE_S):
        old.later(GRACE_S + 1)
        collected = old.collect()
        assert collected.removed == []
        assert "process" in collected.waiting["second"]
        assert old.checkpoints.read("second")
    assert old.collect().removed == ["second"]
    assert old.holds.leased() == {}


def test_a_lease_is_renewed_while_it_is_held(tmp_path: Path) -> None:
    def ends() -> list[float]:
        found = []
        for path in (tmp_path / "leases").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # replaced since it was listed
                found.append(json.loads(path.read_bytes())["expires_at_s"])
        return found

    with Holds(tmp_path).lease("second", ttl_s=0.3):
        first = ends()[0]
        until(lambda: len(ends()) == 1 and ends()[0] > first + 0.3, what="a lease renewed, the older one deleted")
        assert set(Holds(tmp_path).leased()) == {"second"}
    assert ends() == []


def test_a_lease_that_cannot_be_taken_back_does_not_undo_the_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Holds(tmp_path).lease("second"):
        (lease,) = (tmp_path / "leases").glob("*.json")
        lease.unlink()
        lease.mkdir()  # cannot be unlinked
    assert "cannot take back the lease of second" in caplog.text


def test_nobody_begins_to_read_what_is_about_to_be_removed(old: Registry) -> None:
    old.later(GRACE_S * 0.4)
    with old.holds.lease("second"):
        pass
    old.later(GRACE_S * 0.2)
    with (
        pytest.raises(CheckpointError, match=r"'second' .* is being removed .*choose another"),
        old.holds.lease("second"),
    ):
        pytest.fail("it was given a lease")
    with pytest.raises(CheckpointError, match="is being removed"):
        old.holds.pin("second", by="alice", reason="late")
    assert (old.holds.leased(), old.holds.pins()) == ({}, {}), "refused, and yet there"


def test_a_reader_that_died_holds_it_for_no_longer_than_its_lease(old: Registry) -> None:
    lease = old.holds.lease("second", ttl_s=GRACE_S)
    lease.__enter__()
    old.later(GRACE_S + 1)
    assert old.collect().removed == [], "clocks may differ a little"
    old.later(120)
    assert old.collect().removed == ["second"]
    assert not list((old.root / "leases").iterdir())
    lease.__exit__(None, None, None)


def test_a_mark_is_taken_back_when_the_checkpoint_is_wanted_again(old: Registry) -> None:
    with old.holds.lease("second"):
        old.log.append("rollback", target=2, by="alice")
    old.later(GRACE_S + 1)
    assert old.collect().removed == []
    assert old.collect().kept["second"] == "the champion"
    assert "second" not in old.holds.marks()


def test_pins_hold_until_they_are_taken_away(old: Registry) -> None:
    old.holds.pin("second", by="alice", reason="for the paper")
    old.holds.pin("second", by="bob", reason="too")
    assert old.holds.pins()["second"].by == "alice"
    old.later(GRACE_S + 1)
    assert old.collect().removed == []
    old.holds.unpin("second")
    assert set(old.collect().marked) == {"second"}
    old.later(GRACE_S + 1)
    assert old.collect().removed == ["second"]


def test_a_collector_killed_between_removal_and_unmarking_is_made_good(old: Registry) -> None:
    old.later(GRACE_S + 1)
    old.checkpoints.delete("second")
    assert old.collect().removed == []
    assert old.holds.marks() == {}


def test_nothing_is_removed_on_a_guess(old: Registry) -> None:
    old.later(GRACE_S + 1)
    (old.root / "leases").mkdir(exist_ok=True)
    (old.root / "leases" / "torn.json").write_bytes(b"{")
    with pytest.raises(RegistryError, match=r"leases/torn\.json .* is damaged"):
        old.collect()
    assert "second" in old.names()


@pytest.mark.parametrize("name", ["../promotions/00000001", ".hidden"])
def test_a_name_that_is_none_reaches_no_file(registry: Registry, name: str) -> None:
    registry.judge("promote", "first")
    with pytest.raises(CheckpointError, match="is no name of a checkpoint"):
        registry.holds.unpin(name)
    assert len(PromotionLog(registry.root).entries()) == 1


def test_a_champion_that_is_replaced_and_removed_before_it_is_read_is_not_missed(registry: Registry) -> None:
    registry.judge("promote", "first")
    replaced: list[str] = []

    def champion():  # type: ignore[no-untyped-def]
        entry = registry.log.champion()
        if not replaced:  # between reading the log and reading the files
            registry.judge("promote", "second")
            registry.checkpoints.delete("first")
            replaced.append("first")
        return entry

    found = read_wanted(registry.checkpoints, champion)
    assert found is not None
    assert (found[0].checkpoint, found[1]) == ("second", {"model.safetensors": b"second" * 10})


def test_it_is_the_same_in_an_object_store() -> None:
    url, now_s = "memory://retention", [1e9]
    store, log = CheckpointStore(f"{url}/checkpoints"), PromotionLog(url)
    holds = Holds(url, clock=lambda: now_s[0])
    for name in ("first", "second", "third"):
        store.write(name, {"model.safetensors": b"weights"})
        log.append("promote", checkpoint=name, by="test")
    collector = Collector(
        checkpoints=store,
        promotions=PromotionLog(url),
        holds=holds,
        policy=RetentionPolicy(keep_promotions=1, keep_candidates=0, keep_unnamed_s=DAY_S),
        remove_after_s=GRACE_S,
        clock=lambda: now_s[0],
    )
    with holds.lease("second", ttl_s=2 * GRACE_S):
        assert set(collector.collect().marked) == {"second"}
        now_s[0] += GRACE_S + 1
        assert collector.collect().removed == []
    assert collector.collect().removed == ["second"]
    assert [info.name for info in store.list()] == ["first", "third"]
    assert (holds.leased(), holds.marks(), holds.pins()) == ({}, {}, {})
