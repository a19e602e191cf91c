"""The quality bench: small trials with real teachers and students, and its tables on hand-made results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from PIL import Image
from scipy import stats

from benchmarks.markdown import MarkerMissing
from benchmarks.quality.arms import ARMS, BY_NAME, GROUPS
from benchmarks.quality.command import chosen_arms, main, run_trials
from benchmarks.quality.corpora import CaptionStream, late_targets
from benchmarks.quality.figures import Difference, Figures, mask_ap50
from benchmarks.quality.form import FORMS, Form
from benchmarks.quality.goals import goals_table
from benchmarks.quality.results import LabelQuality, Snapshot, TrialResult
from benchmarks.quality.tables import TITLES, all_tables
from benchmarks.quality.trial import Replay, corpus_folder, run_trial, trial_folder
from benchmarks.synthetic_truth import SYNONYMS
from xpm_stream.data.splits import load_split
from xpm_stream.data.synthetic import CorpusPaths
from xpm_stream.methods import METHODS
from xpm_stream.methods.base import LabelledImage
from xpm_stream.monitoring.summary import ModelScores, SplitScores

TINY = Form(
    name="short",
    seeds=(0,),
    teacher_steps=2,
    round_steps=2,
    corpus={
        "base_images": 24,
        "caption_images": 40,
        "val_images": 12,
        "images_per_shard": 20,
        "image_size": 64,
        "target_classes": 4,
        "caption_target_rate": 0.6,
    },
    sets=("model.image_size=64", "model.max_image_size=64", "model.num_rois=8", "trainer.batch_captions=4"),
)


def _scores(base: float, target: float) -> ModelScores:
    def of(value: float) -> SplitScores:
        return SplitScores(mask_ap50=value, box_ap50=value + 1, mask_ap=value / 2, box_ap=value / 2, num_instances=9)

    return ModelScores(
        checkpoint="x",
        num_images=10,
        constrained={"base": of(base + 2), "target": of(target + 2)},
        generalized={"base": of(base), "target": of(target), "all": of((base + target) / 2)},
        proposal_recall={"base": {"10": 90.0, "100": 95.0}, "target": {"10": 70.0, "100": 85.0}},
    )


def _result(arm: str, seed: int, *, base: float, target: float) -> TrialResult:
    shot = Snapshot(
        step=1, scores=_scores(base, target), by_class={"cat": target, "cup": target}, targets=["cat", "cup"]
    )
    labels = LabelQuality(
        teacher=0, step=0, right=dict.fromkeys(("target", "all"), (1, 4)), auc={"target": 0.8, "all": None}
    )
    return TrialResult(arm=arm, seed=seed, form="short", final=shot, labels=[labels], late_targets=["cup"])


def test_every_arm_starts_from_an_arm_above_it_and_every_method_has_one() -> None:
    known: set[str] = set()
    for arm in ARMS:
        assert arm.name not in known, f"{arm.name} is there twice"
        assert arm.start is None or arm.start in known
        known.add(arm.name)
    asked = {setting.removeprefix("method=") for arm in ARMS for setting in arm.sets if setting.startswith("method=")}
    assert {arm.group for arm in ARMS} == set(GROUPS)
    assert asked | {"xpm"} >= {name for name in METHODS if name not in ("ovsegmentor", "unpair_seg")}


def test_chosen_arms_come_with_what_they_start_from() -> None:
    assert [arm.name for arm in chosen_arms(TINY, groups=[], names=["student-2"])] == [
        "teacher",
        "student",
        "student-2",
    ]
    core = {arm.name for arm in chosen_arms(FORMS["short"], groups=[], names=[])}
    assert core == {arm.name for arm in ARMS if arm.group == "core"}
    assert len(chosen_arms(FORMS["long"], groups=[], names=[])) == len(ARMS)


@pytest.mark.slow
def test_trials_train_judge_and_are_not_run_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = replace(TINY, sets=(*TINY.sets, f"text.cache={tmp_path / 'text'}"))
    promoted = replace(BY_NAME["promoted"], promotions=2)
    monkeypatch.setitem(BY_NAME, "promoted", promoted)
    arms = [BY_NAME[name] for name in ("teacher", "student", "student-2", "no-captions")]
    results = {one.arm: one for one in run_trials(form, arms, work=tmp_path, processes=2)}
    assert set(results) == {"teacher", "student", "student-2", "no-captions"}
    for result in results.values():
        assert set(result.final.scores.generalized) == {"base", "target", "all"}
        assert (trial_folder(tmp_path, BY_NAME[result.arm], seed=0) / "result.json").exists()
    (labels,) = results["student"].labels
    assert 0 < labels.right["all"][1] <= 2 * 4 * 3, "two steps of four images with at most three classes"
    assert labels.right["all"][1] >= labels.right["target"][1] > 0
    assert results["no-captions"].labels == []
    again = run_trials(form, arms, work=tmp_path, processes=2)
    assert sorted(one.seconds["all"] for one in again) == sorted(one.seconds["all"] for one in results.values())


@pytest.mark.slow
def test_a_replayed_trial_learns_earlier_images_again_with_labels_of_the_new_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[LabelledImage]] = []
    take = Replay.take

    def watched(self: Replay, step: int, **label: Any) -> list[LabelledImage]:
        given.append(take(self, step, **label))
        return given[-1]

    monkeypatch.setattr(Replay, "take", watched)
    monkeypatch.setitem(BY_NAME, "shift-replay", replace(BY_NAME["shift-replay"], promotions=1, judge_promoted=False))
    form = replace(TINY, sets=(*TINY.sets, f"text.cache={tmp_path / 'text'}"))
    for name in ("teacher", "shift-replay"):
        form.write_corpus(
            corpus_folder(tmp_path, BY_NAME[name], seed=0), seed=0, settings=BY_NAME[name].corpus, workers=1
        )
        run_trial(name, form=form, seed=0, work=tmp_path)
    assert [len(images) for images in given] == [0, 4, 8, 8], "four images come a step, eight are replayed at most"
    assert all(len({image.sample for image in images}) == len(images) for images in given)


def test_a_stream_of_changing_words_is_shown_with_and_without_replay() -> None:
    results = [_result(arm, 0, base=50, target=target) for arm, target in (("shift", 20), ("shift-replay", 30))]
    shown = all_tables(Figures(results))["shift"]
    assert "| no replay, step 1 | 20.0 | 20.0 | 50.0 |" in shown
    assert "| replay, step 1 | 30.0 | 30.0 | 50.0 |" in shown
    assert BY_NAME["shift-replay"].sets == ("trainer.replay_images=8",)
    same = replace(BY_NAME["shift-replay"], name="shift", label=BY_NAME["shift"].label, sets=())
    assert same == BY_NAME["shift"], "they differ in replay alone"


@pytest.fixture(scope="module")
def shifting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CorpusPaths]:
    work = tmp_path_factory.mktemp("shift")
    folder = corpus_folder(work, BY_NAME["shift"], seed=0)
    return work, TINY.write_corpus(folder, seed=0, settings=BY_NAME["shift"].corpus, workers=1)


def test_a_shifting_stream_loses_the_early_target_classes_at_half_time(shifting: tuple[Path, CorpusPaths]) -> None:
    work, corpus = shifting
    config = TINY.config(corpus, folder=work / "x", seed=0, sets=())
    late = set(late_targets(config))
    early = set(load_split(config.data.split.file).target) - late
    assert late
    assert early
    stream = CaptionStream(config, of="all", shift=True, steps=40)
    halves = [[stream.take(step, 4) for step in steps] for steps in (range(20), range(20, 40))]
    shown = [{i.word for images in half for known in images for i in known.truth.instances} for half in halves]
    assert shown[0] & early
    assert not shown[0] & late
    assert shown[1] & late
    assert not shown[1] & early


def test_base_nouns_only_tells_nothing_else_and_no_captions_gives_no_images(shifting: tuple[Path, CorpusPaths]) -> None:
    work, corpus = shifting
    config = TINY.config(corpus, folder=work / "x", seed=0, sets=())
    told = CaptionStream(config, of="base", shift=False, steps=4).take(0, 40)
    words = {word for known in told for word in known.image.words}
    assert words
    assert {SYNONYMS.get(word, word) for word in words} <= set(load_split(config.data.split.file).base)
    assert CaptionStream(config, of="none", shift=False, steps=4).take(0, 8) == []


def test_a_difference_is_paired_by_seed_and_has_students_interval() -> None:
    figures = Figures(
        [_result("teacher", seed, base=40, target=t) for seed, t in enumerate((1.0, 5.0, 9.0))]
        + [_result("student", seed, base=41, target=t) for seed, t in ((2, 30.0), (0, 20.0), (1, 27.0))]
    )
    found = figures.difference("student", "teacher", mask_ap50("target"))
    assert found is not None
    assert found.values == [19.0, 22.0, 21.0]
    half = stats.t.ppf(0.975, 2) * stats.sem(found.values)
    assert found.interval == pytest.approx((found.mean - half, found.mean + half))
    assert str(Difference([2.0])) == "+2.0"
    assert figures.cell("student", mask_ap50("target")) == "25.7 (20 to 30)"
    assert figures.cell("absent", mask_ap50("target")) == "-"


def test_goals_say_met_and_not_met_as_measured() -> None:
    figures = Figures(
        [
            _result("teacher", 0, base=40, target=5),
            _result("student", 0, base=38, target=25),
            _result("student-2", 0, base=41, target=30),
        ]
    )
    made = goals_table(figures)
    assert made is not None
    rows = {line.split("|")[1].strip(): line for line in made.splitlines()[2:]}
    assert "+20.0 | met" in rows["one round over the teacher, target"]
    assert "+25.0 | **not met**" in rows["two rounds over the teacher, target"]
    assert "-2.0 | **not met**" in rows["one round over the teacher, base"]
    assert len(rows) == 3, "a goal without its arms is not shown"


def test_every_table_has_a_title_and_a_row_for_each_arm() -> None:
    results = [_result(arm.name, 0, base=50, target=20) for arm in ARMS]
    tables = all_tables(Figures(results))
    assert set(tables) == set(TITLES)
    assert "25.0 %" in tables["labels"]
    assert len(tables["weightings"].splitlines()) == 2 + 9


def test_the_command_refuses_an_unknown_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--form", "huge"])
    assert ended.value.code == 2
    assert "invalid choice: 'huge'" in capsys.readouterr().err


def test_what_was_run_is_shown_again_with_its_tables_in_the_page_and_its_curves_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in ARMS:
        for seed in (0, 1):
            one = _result(arm.name, seed, base=50 + seed, target=20)
            shots = [one.final] * arm.promotions if arm.judge_promoted else []
            labels = [one.labels[0]] * (arm.promotions + 1)
            structs.replace(one, promoted=shots, labels=labels).write(
                trial_folder(tmp_path, arm, seed=seed) / "result.json"
            )
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- quality {name} -->\n<!-- /quality {name} -->\n" for name in TITLES))
    shown = ["--form", "long", "--seeds", "0", "1", "--no-run", "--work", str(tmp_path)]
    main([*shown, "--markdown", str(page), "--plots", str(tmp_path / "plots")])
    assert "| XPM here, one round | 52.5 (52 to 53) |" in page.read_text()
    assert "2 seeds" in capsys.readouterr().out
    for name in ("quality_continual.png", "quality_noise.png"):
        with Image.open(tmp_path / "plots" / name) as picture:
            assert picture.width > 400
            assert len(set(picture.convert("RGB").resize((64, 64)).get_flattened_data())) > 20


def test_a_page_without_a_place_for_a_table_is_an_error_and_a_place_without_results_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _result("teacher", 0, base=50, target=20).write(trial_folder(tmp_path, BY_NAME["teacher"], seed=0) / "result.json")
    shown = ["--form", "long", "--seeds", "0", "--arms", "teacher", "--no-run", "--work", str(tmp_path)]
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(MarkerMissing, match=r"page\.md has no place for a table"):
        main([*shown, "--markdown", str(page)])
    page.write_text("<!-- quality goals -->\nold\n<!-- /quality goals -->\n")
    main([*shown, "--markdown", str(page)])
    assert "old" in page.read_text()
    assert "no results for `quality goals`" in capsys.readouterr().err
