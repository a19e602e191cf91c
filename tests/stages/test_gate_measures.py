"""The canary set, and what a real small network does on it and on held-out images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_runs import CANARY_IMAGES, HELD_OUT_IMAGES, draw_corpus, gate_config, write_checkpoint

from xpm_stream.config import RunConfig
from xpm_stream.data.synthetic import CorpusPaths
from xpm_stream.errors import CheckpointError, DataError, RegistryError
from xpm_stream.monitoring.canary_labels import canary_labels_path, decode_canary_labels
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.store import Store, open_store
from xpm_stream.stages.canary_set import CANARY_SET_PATH, canary_set
from xpm_stream.stages.evaluating import judge_model
from xpm_stream.stages.gate_measures import GateMeter
from xpm_stream.stages.loaded_model import load_model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    return draw_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture
def config(tmp_path: Path, corpus: CorpusPaths, cache: Path) -> RunConfig:
    return gate_config(tmp_path, corpus, cache=cache)


@pytest.fixture
def store(config: RunConfig) -> Store:
    return open_store(f"{config.folder}/registry")


def with_gates(config: RunConfig, **gates: Any) -> RunConfig:
    promotion = config.promotion.model_copy(update={"gates": config.promotion.gates.model_copy(update=gates)})
    return config.model_copy(update={"promotion": promotion})


def meter(config: RunConfig, store: Store) -> GateMeter:
    return GateMeter(
        config,
        store=store,
        checkpoints=CheckpointStore(f"{config.folder}/registry/checkpoints"),
        canary=canary_set(store, config, urls=[]),
    )


def test_the_canary_set_is_spread_over_the_shards_and_frozen(config: RunConfig, store: Store) -> None:
    made = canary_set(store, config, urls=[])
    assert made is not None
    assert len(made.images) == CANARY_IMAGES
    shards = [image.shard_id for image in made.images]
    assert [shards.count(shard) for shard in dict.fromkeys(shards)] == [6, 6]
    assert all(image.words and sum(image.nouns_per_caption) >= len(image.words) for image in made.images)
    assert all(image.pixels(max_pixels=10_000).shape == (64, 64, 3) for image in made.images)
    later = with_gates(config, canary_images=3)
    again = canary_set(store, later, urls=[])
    assert again is not None
    assert again.canary_id == made.canary_id, "once frozen, nothing changes it"


def test_no_canary_set_is_made_where_none_is_asked_for(config: RunConfig, store: Store) -> None:
    assert canary_set(store, with_gates(config, canary_images=0), urls=[]) is None
    assert not store.names("drift")


def test_a_corpus_that_still_grows_is_waited_for(config: RunConfig, store: Store) -> None:
    growing = config.data.model_copy(update={"watch": True})
    patient = with_gates(config.model_copy(update={"data": growing}), canary_images=100)
    assert canary_set(store, patient, urls=[]) is None
    finite = canary_set(store, with_gates(config, canary_images=100), urls=[])
    assert finite is not None
    assert 0 < len(finite.images) <= 32, "all that a finite corpus has"


def test_shards_that_only_the_queue_knows_are_used(config: RunConfig, store: Store) -> None:
    unnamed = config.model_copy(update={"data": config.data.model_copy(update={"shards": [], "watch": True})})
    assert canary_set(store, unnamed, urls=[]) is None
    made = canary_set(store, unnamed, urls=config.data.shards)
    assert made is not None
    assert len(made.images) == CANARY_IMAGES


def test_a_damaged_canary_set_is_told_not_replaced(config: RunConfig, store: Store) -> None:
    store.create(CANARY_SET_PATH, b"not msgpack")
    with pytest.raises(RegistryError, match=r"set\.msgpack .* is damaged .*delete it"):
        canary_set(store, config, urls=[])


def test_base_ap_is_that_of_the_evaluation_on_the_same_images(
    config: RunConfig, store: Store, corpus: CorpusPaths
) -> None:
    write_checkpoint(config, "one", seed=1, base_classes=corpus.base_words)
    everything = with_gates(config, held_out_images=1000)
    measured = meter(everything, store).measure("one")
    model = load_model(f"{config.folder}/registry/checkpoints/one", like=config)
    assert config.data.val is not None
    report = judge_model(model, annotations=config.data.val, split_file=config.data.split.file)
    expected = report.constrained["base"].by_split["base"].mask.ap50
    assert expected is not None
    assert measured.base_ap50 == pytest.approx(100 * expected)
    assert measured.num_held_out == report.constrained["base"].num_images


def test_a_checkpoint_is_measured_once_and_its_canary_labels_are_kept(
    config: RunConfig, store: Store, corpus: CorpusPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(config, "one", seed=1, base_classes=corpus.base_words)
    made = meter(config, store)
    first = made.measure("one")
    assert first.num_held_out == HELD_OUT_IMAGES
    assert first.num_canary == CANARY_IMAGES
    assert first.labels_per_image is not None
    assert first.labels_per_image > 0
    assert first.word_entropy is not None
    assert first.word_entropy > 0
    labels = decode_canary_labels(store.read(canary_labels_path("one")))
    assert len(labels.images) == len(labels.instances) == CANARY_IMAGES
    assert labels.num_instances == first.labels_per_image * CANARY_IMAGES
    assert labels.mean_reliability == first.mean_reliability
    shares = [share for image in labels.images for share in image.box_area_shares]
    areas = [
        (x1 - x0) * (y1 - y0) for of_image in labels.instances for x0, y0, x1, y1 in (i.box_xyxy for i in of_image)
    ]
    assert shares == pytest.approx([area / 64**2 for area in areas])
    assert all(0 < share <= 1 for share in shares)
    monkeypatch.setattr(GateMeter, "_measure", lambda *_: pytest.fail("measured again"))
    assert meter(config, store).measure("one") == first


def test_other_images_or_settings_are_measured_anew(config: RunConfig, store: Store, corpus: CorpusPaths) -> None:
    write_checkpoint(config, "one", seed=1, base_classes=corpus.base_words)
    first = meter(config, store).measure("one")
    fewer = meter(with_gates(config, held_out_images=3), store).measure("one")
    assert fewer.set_id != first.set_id
    assert fewer.num_held_out == 3


def test_agreement_is_full_with_itself_and_less_with_other_weights(
    config: RunConfig, store: Store, corpus: CorpusPaths
) -> None:
    made = meter(config, store)
    for seed in (1, 2):
        write_checkpoint(config, f"c{seed}", seed=seed, base_classes=corpus.base_words)
        made.measure(f"c{seed}")
    assert made.agreement("c1", "c1") == 1.0
    other = made.agreement("c1", "c2")
    assert other is not None
    assert other < 1.0


def test_a_classifier_that_says_one_word_always_has_no_entropy(
    config: RunConfig, store: Store, corpus: CorpusPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(config, "one", seed=1, base_classes=corpus.base_words)
    from xpm_stream.stages.loaded_model import LoadedModel

    detect = LoadedModel.detect

    def collapsed(self: LoadedModel, images: Any, vocabularies: Any) -> Any:
        found = detect(self, images, vocabularies)
        for of_vocabulary in found:
            for image in of_vocabulary:
                object.__setattr__(image, "class_names", ["dog"] * len(image.class_names))
        return found

    monkeypatch.setattr(LoadedModel, "detect", collapsed)
    assert meter(with_gates(config, held_out_images=0), store).measure("one").word_entropy == pytest.approx(0.0)


def test_what_is_not_there_is_not_measured(config: RunConfig, store: Store, corpus: CorpusPaths) -> None:
    write_checkpoint(config, "one", seed=1, base_classes=corpus.base_words)
    without = config.model_copy(update={"data": config.data.model_copy(update={"val": None})})
    measured = meter(without, store).measure("one")
    assert measured.base_ap50 is None
    assert measured.num_held_out == 0
    bare = with_gates(without, canary_images=0)
    assert not GateMeter(
        bare, store=store, checkpoints=CheckpointStore(f"{config.folder}/registry/checkpoints"), canary=None
    ).has_images
    with pytest.raises(CheckpointError):
        meter(config, store).measure("nobody")


def test_an_image_that_is_gone_is_an_error_that_says_so(
    config: RunConfig, store: Store, corpus: CorpusPaths, tmp_path: Path
) -> None:
    write_checkpoint(config, "one", seed=1, base_classes=corpus.base_words)
    assert config.data.val is not None
    away = config.data.val.model_copy(update={"images": str(tmp_path / "away")})
    moved = config.model_copy(update={"data": config.data.model_copy(update={"val": away})})
    with pytest.raises(DataError, match="away"):
        meter(moved, store).measure("one")


def test_held_out_images_are_spread_evenly(config: RunConfig, store: Store, corpus: CorpusPaths) -> None:
    made = meter(config, store)
    held_out = made._held_out
    assert held_out is not None
    ids = [image["id"] for image in json.loads(corpus.val_annotations.read_text())["images"]]
    steps = np.diff([ids.index(image_id) for image_id in held_out.image_ids])
    assert (steps > 0).all()
    assert held_out.image_ids[0] < ids[3]
    assert held_out.image_ids[-1] > ids[-4]
