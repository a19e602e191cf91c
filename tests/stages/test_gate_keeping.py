"""A promoter with gates: real checkpoints of a small network, a real canary set, a real promotion log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gate_runs import draw_corpus, gate_config, write_checkpoint

from xpm_stream.data.synthetic import CorpusPaths
from xpm_stream.monitoring.drift_records import QueueInWindow, WindowRecord
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.registry.promotion_log import PromotionEntry
from xpm_stream.registry.store import open_store
from xpm_stream.stages import gate_measures
from xpm_stream.stages.process import Role, role_process
from xpm_stream.stages.promotion import Promoter

MakeRole = Callable[..., Role]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    return draw_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture
def make_role(tmp_path: Path, corpus: CorpusPaths, cache: Path) -> Iterator[MakeRole]:
    with ExitStack() as stack:

        def make(**gates: Any) -> Role:
            config = gate_config(tmp_path, corpus, cache=cache, **gates)
            return stack.enter_context(role_process("promoter", kind="promoter", config=config))

        yield make


@pytest.fixture
def propose(corpus: CorpusPaths) -> Callable[..., None]:
    def one(role: Role, step: int, *, seed: int | None = None, epoch: int = 1, samples: int | None = None) -> None:
        name = f"student-e{epoch}-s{step}"
        write_checkpoint(role.config, name, seed=step if seed is None else seed, base_classes=corpus.base_words)
        role.promotions.propose(name, epoch=epoch, step=step, metadata={"samples_trained": samples or 4 * step})

    return one


def gates_of(entry: PromotionEntry) -> dict[str, str]:
    return {gate["gate"]: gate["outcome"] for gate in entry.checks["gates"]}


def actions(role: Role) -> list[str]:
    return [entry.action for entry in role.promotions.entries()]


def exported(role: Role, name: str, **labels: str) -> float | None:
    return role.metrics.registry.get_sample_value(name, labels)


def test_the_first_teacher_needs_no_comparison_and_the_next_goes_through_every_gate(
    make_role: MakeRole, propose: Callable[..., None]
) -> None:
    role = make_role()
    propose(role, 0, epoch=0)
    propose(role, 8)
    assert Promoter(role).judge_pending() == 2
    first, second = role.promotions.entries()
    assert (first.action, second.action) == ("promote", "promote")
    assert gates_of(first) == {"files": "pass"}
    assert "no champion to compare it with" in first.reasons[-1]
    assert gates_of(second) == dict.fromkeys(
        ("files", "base_ap50", "canary_agreement", "label_count", "word_entropy", "reliability"), "pass"
    )
    assert all(gate["value"] is not None for gate in second.checks["gates"][1:])
    assert exported(role, "xpm_promoter_gate_results_total", gate="reliability", outcome="pass") == 1
    assert exported(role, "xpm_promoter_gate_limit", gate="reliability") is not None
    assert exported(role, "xpm_promoter_gate_seconds_count") == 1


def test_a_candidate_that_disagrees_with_the_champion_is_refused_with_both_figures(
    make_role: MakeRole, propose: Callable[..., None]
) -> None:
    role = make_role(min_canary_agreement=0.999)
    propose(role, 1, seed=1)
    propose(role, 2, seed=2)
    propose(role, 3, seed=1)  # the champion's weights again
    Promoter(role).judge_pending()
    assert actions(role) == ["promote", "refuse", "promote"]
    refused = role.promotions.entries()[1]
    assert gates_of(refused)["canary_agreement"] == "fail"
    assert refused.reasons == [gate["why"] for gate in refused.checks["gates"] if gate["outcome"] == "fail"]


def test_after_so_many_refusals_nothing_is_promoted_until_a_person_decides(
    make_role: MakeRole, propose: Callable[..., None]
) -> None:
    role = make_role(min_canary_agreement=0.999, max_failures=2)
    for step, seed in ((1, 1), (2, 2), (3, 3), (4, 1), (5, 1)):
        propose(role, step, seed=seed)
    promoter = Promoter(role)
    promoter.judge_pending()
    assert actions(role) == ["promote", "refuse", "refuse", "inconclusive", "inconclusive"]
    assert "checkpoints promote" in role.promotions.entries()[-1].reasons[0]
    assert exported(role, "xpm_promoter_held") == 1
    assert exported(role, "xpm_promoter_consecutive_failures") == 2
    role.promotions.append("rollback", target=1, by="a person")
    propose(role, 6, seed=1)
    promoter.judge_pending()
    assert actions(role)[-2:] == ["rollback", "promote"]
    assert exported(role, "xpm_promoter_held") == 0


def test_too_few_steps_or_samples_leave_it_open_and_the_next_is_judged_anew(
    make_role: MakeRole, propose: Callable[..., None]
) -> None:
    role = make_role(min_steps=10, min_samples=100)
    propose(role, 0, epoch=0)
    propose(role, 9, samples=500)
    propose(role, 10, samples=99)
    propose(role, 12, samples=100)
    propose(role, 21, samples=200)
    propose(role, 22, samples=200)
    Promoter(role).judge_pending()
    assert actions(role) == ["promote", "inconclusive", "inconclusive", "promote", "inconclusive", "promote"]
    assert exported(role, "xpm_promoter_consecutive_failures") == 0, "what waits has not failed"


def window(role: Role, number: int, **fields: Any) -> None:
    store = open_store(role.folder.registry_url(role.config))
    queue = QueueInWindow(**dict.fromkeys(QueueInWindow.__struct_fields__, 0))
    plain = {"num_labels": 1, "labels_seen": 1, "labels_missed": 0, "teacher": "v1", "teachers": {"v1": 1}}
    times = {"started_at_s": 0.0, "ended_at_s": 1.0, "labels_per_second": 1.0, "instances_per_label": 1.0}
    facts = {"verdicts": [], "cause": None, "quantiles": {}, "words": [], "queue": queue, "brake": False}
    DriftStore(store).add_window(WindowRecord(number=number, **{**plain, **times, **facts, **fields}), keep=100)


def test_drift_holds_promotions_back_until_its_brake_is_released(
    make_role: MakeRole, propose: Callable[..., None]
) -> None:
    role = make_role()
    propose(role, 1)
    window(role, 1, brake=True, brake_reasons=["reliability psi 0.9 above 0.2"])
    promoter = Promoter(role)
    promoter.judge_pending()
    assert actions(role) == ["promote"], "a first teacher is always better than none"
    propose(role, 2)
    promoter.judge_pending()
    braked = role.promotions.entries()[-1]
    assert braked.action == "inconclusive"
    assert braked.reasons == ["drift holds promotions back: reliability psi 0.9 above 0.2"]
    assert "base_ap50" not in gates_of(braked), "what cannot be promoted is not measured"
    window(role, 2)
    propose(role, 3)
    promoter.judge_pending()
    assert actions(role)[-1] == "promote"
    assert gates_of(role.promotions.entries()[-1])["drift_brake"] == "pass"


def test_a_damaged_drift_record_leaves_it_open(make_role: MakeRole, propose: Callable[..., None]) -> None:
    role = make_role()
    propose(role, 1)
    propose(role, 2)
    open_store(role.folder.registry_url(role.config)).create("drift/windows/00000001.json", b"{")
    Promoter(role).judge_pending()
    assert actions(role) == ["promote", "inconclusive"]
    assert "this is no drift window" in role.promotions.entries()[-1].reasons[0]


def test_what_cannot_be_measured_leaves_it_open(
    make_role: MakeRole, propose: Callable[..., None], tmp_path: Path
) -> None:
    role = make_role()
    assert role.config.data.val is not None
    away = role.config.data.val.model_copy(update={"images": str(tmp_path / "away")})
    role.config = role.config.model_copy(update={"data": role.config.data.model_copy(update={"val": away})})
    propose(role, 1)
    propose(role, 2)
    Promoter(role).judge_pending()
    assert actions(role) == ["promote", "inconclusive"]
    assert "could not be measured" in role.promotions.entries()[-1].reasons[0]
    assert exported(role, "xpm_promoter_gate_results_total", gate="files", outcome="unknown") == 1


def test_without_gates_whole_files_are_enough(make_role: MakeRole, propose: Callable[..., None]) -> None:
    role = make_role(enabled=False, min_canary_agreement=0.999, min_steps=100)
    propose(role, 1, seed=1)
    propose(role, 2, seed=2)
    Promoter(role).judge_pending()
    assert actions(role) == ["promote", "promote"]
    assert not open_store(role.folder.registry_url(role.config)).names("drift")


def test_told_to_stop_in_the_middle_it_leaves_the_candidate_to_the_next_promoter(
    make_role: MakeRole, propose: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = make_role()
    hasty = role.config.promotion.model_copy(update={"stop_timeout_s": 1e-9})
    role.config = role.config.model_copy(update={"promotion": hasty})
    propose(role, 1)
    promoter = Promoter(role)
    promoter.judge_pending()
    propose(role, 2)
    measuring = gate_measures.measures_of_findings

    def told(*arguments: Any, **options: Any) -> Any:
        role.stop.set()
        return measuring(*arguments, **options)

    monkeypatch.setattr(gate_measures, "measures_of_findings", told)
    assert promoter.judge_pending() == 0
    assert actions(role) == ["promote"]
    monkeypatch.undo()
    role.stop.clear()
    assert Promoter(role).judge_pending() == 1
    assert actions(role) == ["promote", "promote"]


def test_a_rollback_while_it_measures_is_not_overruled(
    make_role: MakeRole, propose: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = make_role()
    for step in (1, 2, 3):
        propose(role, step)
        if step < 3:
            Promoter(role).judge_pending()
    judged = gate_measures.GateMeter.agreement

    def meanwhile(self: gate_measures.GateMeter, first: str, second: str) -> float | None:
        if actions(role)[-1] != "rollback":
            role.promotions.append("rollback", target=1, by="a person")
        return judged(self, first, second)

    monkeypatch.setattr(gate_measures.GateMeter, "agreement", meanwhile)
    promoter = Promoter(role)
    assert promoter.judge_pending() == 0, "the decision rested on another champion"
    assert promoter.judge_pending() == 1
    assert actions(role) == ["promote", "promote", "rollback", "promote"]
    assert exported(role, "xpm_promoter_conflicts_total") == 1


def test_a_champion_that_a_person_promoted_is_measured_too(make_role: MakeRole, propose: Callable[..., None]) -> None:
    role = make_role()
    propose(role, 1)
    role.promotions.append("promote", candidate=1, by="a person")
    Promoter(role).judge_pending()
    store = open_store(role.folder.registry_url(role.config))
    assert store.names("drift/canary/labels") == ["student-e1-s1.json"]
