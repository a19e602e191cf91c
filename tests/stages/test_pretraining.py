"""Caption pretraining for real, on a few pictures: it learns, resumes, notices collapse, and teachers start from it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from redis_servers import until

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import SyntheticCorpusConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.config.network_sections import PretrainingConfig
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.errors import CheckpointError, ConfigError, TrainingError
from xpm_stream.learning.grounding import Matching
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.preparation import synthetic_config
from xpm_stream.stages.pretraining import CollapseWatch, run_pretraining
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.teaching import run_teacher

MakeRun = Callable[..., RunConfig]
LEARNING_STEPS = 36


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    settings = {"base_images": 8, "caption_images": 48, "val_images": 4, "images_per_shard": 24, "image_size": 64}
    section = SyntheticCorpusConfig.model_validate({"preset": "tiny", "settings": {**settings, "nounless_rate": 0.0}})
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", preset=synthetic_config(section))


@pytest.fixture
def make_run(corpus: CorpusPaths, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    def make(name: str = "run", **changed: dict[str, Any]) -> RunConfig:
        sections: dict[str, dict[str, Any]] = {
            "data": {
                "shards": [str(corpus.caption_shards)],
                "split": {"file": str(corpus.split)},
                "base": {"annotations": str(corpus.base_annotations), "images": str(corpus.base_images)},
            },
            "text": {"cache": str(tmp_path_factory.getbasetemp() / "embeddings")},
            "model": {"backbone": "small", "image_size": 64, "max_image_size": 64, "num_proposals": 12, "num_rois": 16},
            "optimiser": {"learning_rate": 1e-3, "warmup_steps": 4, "schedule": "constant"},
            "grounding": {"window_fractions": [0.5]},
            "pretraining": {"steps": 4, "batch_images": 12},
            "teacher": {"steps": 2, "batch_images": 2, "batch_captions": 4},
            "trainer": {"checkpoint_every_steps": 2, "threads": 1},
            "metrics": {"enabled": False},
        }
        for section, keys in changed.items():
            sections[section] = {**sections.get(section, {}), **keys}
        return parse_config({"folder": str(tmp_path / name), **sections}, source="test")

    return make


def _logged(config: RunConfig, role: str, message: str) -> list[dict[str, Any]]:
    lines = (RunFolder.of(config).logs / f"{role}.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["message"] == message]


def _weights(store: CheckpointStore, name: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(store.read(name)["model.safetensors"])


def _files(config: RunConfig) -> Mapping[str, bytes]:
    store = CheckpointStore(RunFolder.of(config).pretraining)
    latest = store.latest()
    assert latest is not None
    return store.read(latest.name)


def _last(config: RunConfig) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(_files(config)["model.safetensors"])


def _matching(accuracy: float, *, chance: float = 0.1) -> Matching:
    return Matching(losses={}, caption_accuracy=accuracy, image_accuracy=accuracy, chance=chance)


@pytest.mark.slow
def test_a_few_pictures_are_matched_with_their_captions_far_above_chance(make_run: MakeRun) -> None:
    watch = {"collapse_after_steps": LEARNING_STEPS, "collapse_window_steps": 4, "min_accuracy_over_chance": 3.0}
    config = make_run(pretraining={"steps": LEARNING_STEPS, **watch}, trainer={"checkpoint_every_steps": 1000})
    run_pretraining(config)  # raises where accuracy is below three times chance
    latest = CheckpointStore(RunFolder.of(config).pretraining).latest()
    assert latest is not None
    assert latest.metadata["finished"] is True
    assert _logged(config, "pretrainer", "pretraining step")[0]["chance"] == pytest.approx(1 / 12, abs=0.02)


@pytest.mark.parametrize("learning_rate", [1e-9, 3.0])
def test_pretraining_that_stays_at_chance_ends_with_an_error(make_run: MakeRun, learning_rate: float) -> None:
    watch = {"collapse_after_steps": 12, "collapse_window_steps": 8}
    optimiser = {"learning_rate": learning_rate}
    config = make_run(optimiser=optimiser, pretraining={"steps": 40, **watch})
    with pytest.raises(TrainingError, match=r"collapsed: at step 1\d .*where guessing gives 0\.08"):
        run_pretraining(config)
    latest = CheckpointStore(RunFolder.of(config).pretraining).latest()
    assert latest is not None
    assert latest.metadata["finished"] is False  # so no teacher starts from it
    with pytest.raises(ConfigError, match="not finished"):
        run_teacher(config.model_copy(update={"teacher": config.teacher.model_copy(update={"init": "pretraining"})}))


def test_the_watch_waits_until_it_is_time_and_looks_at_the_mean() -> None:
    watch = CollapseWatch(PretrainingConfig(collapse_after_steps=5, collapse_window_steps=3))
    for step in range(1, 5):
        watch.look(_matching(0.0), step=step)
    with pytest.raises(TrainingError, match="collapsed: at step 5"):
        watch.look(_matching(0.3), step=5)  # the mean of the last three is 0.1
    fresh = CollapseWatch(PretrainingConfig(collapse_after_steps=5, collapse_window_steps=3))
    for step in (10, 11):
        fresh.look(_matching(0.0), step=step)  # begun anew after a resume: too few to judge
    with pytest.raises(TrainingError):
        fresh.look(_matching(0.0), step=12)
    good = CollapseWatch(PretrainingConfig(collapse_after_steps=1, collapse_window_steps=1))
    good.look(_matching(0.2), step=1)


def test_a_pretraining_in_two_halves_is_the_one_in_a_piece(make_run: MakeRun) -> None:
    whole = make_run("whole", pretraining={"steps": 4, "batch_images": 4})
    run_pretraining(whole)
    halved = make_run("halved", pretraining={"steps": 4, "batch_images": 4})
    first = make_run("halved", pretraining={"steps": 2, "batch_images": 4})
    run_pretraining(first)
    run_pretraining(halved)
    assert [event["step"] for event in _logged(halved, "pretrainer", "resumed")] == [2]
    theirs = _last(halved)
    for key, ours in _last(whole).items():
        torch.testing.assert_close(ours, theirs[key], msg=lambda text, key=key: f"{key}: {text}")
    run_pretraining(halved)
    assert len(_logged(halved, "pretrainer", "pretraining is done already")) == 1


def test_multimodal_layers_go_on_bit_for_bit_and_a_teacher_does_not_have_them(make_run: MakeRun) -> None:
    layers = {"batch_images": 4, "multimodal_layers": 1, "multimodal_heads": 4, "max_caption_tokens": 16}
    whole, halved = (make_run(name, pretraining={"steps": 4, **layers}) for name in ("whole", "halved"))
    run_pretraining(whole)
    run_pretraining(make_run("halved", pretraining={"steps": 2, **layers}))
    half = _files(halved)
    with pytest.raises(CheckpointError, match=r"has some multimodal layers, but .* asks for none"):
        run_pretraining(make_run("halved", pretraining={"steps": 4, "batch_images": 4}))
    with pytest.raises(CheckpointError, match="has other multimodal layers"):
        run_pretraining(make_run("halved", pretraining={"steps": 4, **layers, "multimodal_layers": 2}))
    run_pretraining(halved)
    assert [event["step"] for event in _logged(halved, "pretrainer", "resumed")] == [2]
    ours, theirs = _files(whole), _files(halved)
    for name in ("multimodal.safetensors", "model.safetensors", "optimiser.safetensors"):
        assert ours[name] == theirs[name], name
    assert ours["multimodal.safetensors"] != half["multimodal.safetensors"]  # they learn
    (step,) = _logged(whole, "pretrainer", "pretraining step")
    assert {"masked_language", "image_text", "masked_accuracy", "match_accuracy"} <= set(step)

    plain = make_run("plain", pretraining={"steps": 4, "batch_images": 4})
    run_pretraining(plain)
    assert "multimodal.safetensors" not in _files(plain)
    assert "masked_language" not in _logged(plain, "pretrainer", "pretraining step")[0]
    assert step["words_to_regions_choose_caption"] == pytest.approx(
        _logged(plain, "pretrainer", "pretraining step")[0]["words_to_regions_choose_caption"], abs=1e-3
    )  # the same network, views and order
    assert _last(plain).keys() == _last(whole).keys()
    taught = make_run("whole", pretraining={"steps": 4, "batch_images": 4}, teacher={"init": "pretraining"})
    run_teacher(taught)
    assert _logged(taught, "teacher", "begun")[0]["start"] == "pretraining-s00000004"


def test_a_teacher_starts_from_pretraining_and_keeps_a_frozen_embedding(make_run: MakeRun) -> None:
    start = {"init": "pretraining", "freeze_embedding": True}
    config = make_run(pretraining={"steps": 2, "batch_images": 4}, teacher=start)
    with pytest.raises(ConfigError, match=r"holds nothing: run `xpm-stream pretrain`"):
        run_teacher(config)
    run_pretraining(config)
    run_teacher(config)
    teacher = _weights(CheckpointStore(f"{RunFolder.of(config).root}/registry/checkpoints"), "teacher-e0-s2")
    pretrained = _last(config)
    assert torch.equal(teacher["embedding_head.embedding.weight"], pretrained["embedding_head.embedding.weight"])
    moved = (teacher["embedding_head.hidden1.weight"] - pretrained["embedding_head.hidden1.weight"]).abs().max()
    assert 0 < float(moved) < 0.01  # two steps away from there
    folder = next(Path(RunFolder.of(config).pretraining).glob("pretraining-s*"))
    other = make_run("other", teacher={"init": str(folder)})
    run_teacher(other)
    assert _logged(other, "teacher", "begun")[0]["start"] == folder.name


def test_grounding_beside_detection_goes_on_in_the_captions_where_it_was(make_run: MakeRun) -> None:
    def place(config: RunConfig, name: str) -> dict[str, Any]:
        training = CheckpointStore(RunFolder.of(config).teacher).read(name)["training.json"]
        captions: dict[str, Any] = json.loads(training)["captions"]
        return captions

    whole = make_run("whole", teacher={"grounding_weight": 0.5, "steps": 5})
    run_teacher(whole)
    (step,) = _logged(whole, "teacher", "teacher step")
    assert {"classification", "words_to_regions_choose_caption"} <= set(step)
    part = make_run("part", teacher={"grounding_weight": 0.5, "steps": 3})
    run_teacher(part)
    assert place(part, "teacher-s00000002") == place(whole, "teacher-s00000002")
    shutil.rmtree(RunFolder.of(part).root / "registry")  # as if it had been stopped before it was proposed
    run_teacher(make_run("part", teacher={"grounding_weight": 0.5, "steps": 5}))
    assert [event["step"] for event in _logged(part, "teacher", "resumed")] == [2]
    assert place(part, "teacher-s00000004") == place(whole, "teacher-s00000004")
    assert place(whole, "teacher-s00000004") != place(whole, "teacher-s00000002")


def test_joint_training_weighs_the_grounding_terms(make_run: MakeRun) -> None:
    def first_step(weight: float) -> dict[str, Any]:
        config = make_run(f"w{weight}", teacher={"grounding_weight": weight, "steps": 1})
        run_teacher(config)
        return _logged(config, "teacher", "teacher step")[0]

    half, one = first_step(0.5), first_step(1.0)
    for name in ("words_to_regions_choose_caption", "regions_to_words_choose_image"):
        assert one[name] == pytest.approx(2 * half[name], abs=1e-3)
    assert one["classification"] == half["classification"]


def test_a_teacher_that_is_told_to_stop_keeps_its_steps(make_run: MakeRun) -> None:
    def tell() -> None:
        until(lambda: _logged(config, "teacher", "teacher step"), what="the first step", within_s=120)
        os.kill(os.getpid(), signal.SIGTERM)

    config = make_run(teacher={"steps": 1_000_000}, trainer={"checkpoint_every_steps": 1_000_000})
    RunFolder.of(config).logs.mkdir(parents=True)
    (RunFolder.of(config).logs / "teacher.jsonl").touch()
    teller = threading.Thread(target=tell)
    teller.start()
    run_teacher(config)
    teller.join()
    (stopped,) = _logged(config, "teacher", "stopped")
    latest = CheckpointStore(RunFolder.of(config).teacher).latest()
    assert latest is not None
    assert latest.order == (0, stopped["step"])
