"""`xpm-stream evaluate` on a small network and a drawn corpus: its table, its JSON, and what mistakes are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from asking import Ask, Refused

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.data.synthetic.corpus_config import SyntheticConfig
from xpm_stream.evaluation.truth import GroundTruth
from xpm_stream.methods import find_method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.loaded_model import LoadedModel
from xpm_stream.stages.network_files import network_files


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    preset = SyntheticConfig(
        base_images=2,
        caption_images=2,
        val_images=8,
        image_size=64,
        base_classes=14,
        target_classes=6,
        unannotated_classes=4,
    )
    return write_corpus(tmp_path_factory.mktemp("corpus"), preset=preset, seed=0, workers=1)


@pytest.fixture(scope="module")
def checkpoint(corpus: CorpusPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    config = parse_config(
        {
            "text": {"cache": str(folder / "cache")},
            "model": {"backbone": "small", "image_size": 64, "max_image_size": 64, "num_proposals": 10, "num_rois": 16},
            "evaluation": {"threads": 1, "score_threshold": 0.0},
        },
        source="test",
    )
    torch.manual_seed(0)
    method = find_method(config.method)(config, base_classes=corpus.base_words)
    files = network_files(method, config=config, base_classes=corpus.base_words)
    CheckpointStore(str(folder / "checkpoints")).write("small", files)
    return folder / "checkpoints" / "small"


@pytest.fixture
def where(corpus: CorpusPaths) -> list[object]:
    return ["--annotations", corpus.val_annotations, "--images", corpus.val_images, "--split", corpus.split]


def test_table_and_json_have_every_split_class_and_recall(
    ask: Ask, checkpoint: Path, corpus: CorpusPaths, where: list[object], tmp_path: Path
) -> None:
    answer = ask("evaluate", checkpoint, *where, "--json", tmp_path / "out" / "figures.json")
    assert answer.status == 0, answer
    figures = json.loads((tmp_path / "out" / "figures.json").read_bytes())
    truth = GroundTruth.from_file(str(corpus.val_annotations))
    counts = truth.count_instances()
    assert figures["checkpoint"] == "small"
    assert figures["protocol"] == "coco"
    assert figures["num_images"] == len(truth.images_with([*corpus.base_words, *corpus.target_words]))
    assert set(figures["generalized"]) == {"base", "target", "all"}
    assert set(figures["constrained"]) == {"base", "target"}
    for split, words in (("base", corpus.base_words), ("target", corpus.target_words)):
        objects = sum(counts[word] for word in words)
        assert (
            figures["generalized"][split]["num_instances"] == figures["constrained"][split]["num_instances"] == objects
        )
        assert {one["split"] for name, one in figures["classes"].items() if name in words} == {split}
        recall = figures["proposal_recall"][split]
        assert 0 <= recall["10"] <= recall["100"] <= recall["300"] <= 100
    assert set(figures["classes"]) == {*corpus.base_words, *corpus.target_words}
    for name, one in figures["classes"].items():
        assert one["generalized"]["num_instances"] == one["constrained"]["num_instances"] == counts[name]
        assert (one["generalized"]["mask_ap50"] is None) == (counts[name] == 0)
        assert name in answer.out
    for shown in ("mask AP50", "box AP", "constrained", "generalized", "recall@10", "recall@300", "coco rules"):
        assert shown in answer.out


def test_one_setting_alone_is_judged_as_in_both(
    ask: Ask, checkpoint: Path, where: list[object], tmp_path: Path
) -> None:
    figures = {}
    for setting in ("both", "constrained", "generalized"):
        file = tmp_path / f"{setting}.json"
        assert ask("evaluate", checkpoint, *where, "--setting", setting, "--json", file).status == 0
        figures[setting] = json.loads(file.read_bytes())
    assert figures["constrained"]["constrained"] == figures["both"]["constrained"]
    assert figures["generalized"]["generalized"] == figures["both"]["generalized"]
    assert figures["constrained"]["generalized"] == figures["generalized"]["constrained"] == {}
    assert all(one["generalized"] is None for one in figures["constrained"]["classes"].values())


def test_images_are_found_beside_cocos_annotations(
    ask: Ask, checkpoint: Path, corpus: CorpusPaths, tmp_path: Path
) -> None:
    shutil.copytree(corpus.val_images, tmp_path / "val2017")
    for image in sorted((tmp_path / "val2017").iterdir())[3:]:
        image.unlink()  # what is not looked at need not be there
    (tmp_path / "annotations").mkdir()
    annotations = tmp_path / "annotations" / "instances_val2017.json"
    shutil.copy(corpus.val_annotations, annotations)
    answer = ask("evaluate", checkpoint, "--annotations", annotations, "--split", corpus.split, "--max-images", 3)
    assert answer.status == 0, answer
    assert "on 3 images" in answer.out


def test_a_run_stands_for_its_champion_and_brings_its_own_images(
    ask: Ask, refused: Refused, checkpoint: Path, corpus: CorpusPaths, config: RunConfig, folder: Path
) -> None:
    checkpoints = Path(str(config.registry.url)) / "checkpoints"
    for name in ("one", "two"):
        CheckpointStore(str(checkpoints)).write(name, CheckpointStore(str(checkpoint.parent)).read("small"))
    log = PromotionLog(str(config.registry.url))
    for number, name in enumerate(("one", "two"), start=1):
        log.propose(name, epoch=0, step=number)
        log.append("promote", candidate=number, by="promoter", reasons=["test"])
    val = {"annotations": str(corpus.val_annotations), "images": str(corpus.val_images)}
    tree = config.model_dump() | {"data": {"val": val, "split": {"file": str(corpus.split)}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    answer = ask("evaluate", folder, "--max-images", 2)
    assert (answer.status, "two on 2 images" in answer.out) == (0, True), answer
    assert "one on 2 images" in ask("evaluate", f"{folder}@1", "--max-images", 2).out
    assert "no entry 7" in refused("evaluate", f"{folder}@7")
    assert "is no run folder" in refused("evaluate", folder / "absent", "--run", folder)


def test_a_federated_set_gets_as_many_detections_as_are_judged(
    ask: Ask, checkpoint: Path, corpus: CorpusPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(Path(corpus.val_annotations).read_bytes())
    ids = [category["id"] for category in document["categories"]]
    for image in document["images"]:
        image |= {"neg_category_ids": ids, "not_exhaustive_category_ids": []}
    (tmp_path / "lvis.json").write_text(json.dumps(document))
    limits = []
    detect = LoadedModel.detect

    def noted(model: LoadedModel, *arguments: Any) -> Any:
        limits.append(model.config.evaluation.max_detections)
        return detect(model, *arguments)

    monkeypatch.setattr(LoadedModel, "detect", noted)
    where = ["--annotations", tmp_path / "lvis.json", "--images", corpus.val_images, "--split", corpus.split]
    answer = ask("evaluate", checkpoint, *where, "--max-images", 2)
    assert "lvis rules" in answer.out, answer
    assert "coco rules" in ask("evaluate", checkpoint, *where, "--protocol", "coco", "--max-images", 2).out
    assert limits == [300, 100]


def test_open_images_rules_have_one_threshold(ask: Ask, checkpoint: Path, corpus: CorpusPaths, tmp_path: Path) -> None:
    document = json.loads(Path(corpus.val_annotations).read_bytes()) | {"info": {"description": "Open Images"}}
    for image in document["images"]:
        image |= {"neg_category_ids": [], "pos_category_ids": []}
    (tmp_path / "open_images.json").write_text(json.dumps(document))
    where = ["--annotations", tmp_path / "open_images.json", "--images", corpus.val_images, "--split", corpus.split]
    answer = ask("evaluate", checkpoint, *where, "--max-images", 4, "--json", tmp_path / "out.json")
    assert "open images rules" in answer.out, answer
    figures = json.loads((tmp_path / "out.json").read_bytes())
    assert figures["protocol"] == "open_images"
    for scores in figures["generalized"].values():
        assert scores["mask_ap"] is scores["box_ap"] is None
        assert 0 <= scores["mask_ap50"] <= 100


def test_mistakes_are_told(
    ask: Ask, refused: Refused, checkpoint: Path, corpus: CorpusPaths, where: list[object], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "val.json"
    shutil.copy(corpus.val_annotations, elsewhere)
    assert "--images FOLDER" in refused("evaluate", checkpoint, "--annotations", elsewhere)
    assert "--images belongs to --annotations" in refused("evaluate", checkpoint, "--images", corpus.val_images)
    assert "has no neg_category_ids" in refused("evaluate", checkpoint, *where, "--protocol", "lvis")
    assert "not judged" in ask("evaluate", checkpoint, *where[:4]).out, "COCO's split has classes that are not here"
    assert "is a folder: name the file" in refused("evaluate", tmp_path / "no_checkpoint", *where, "--json", tmp_path)
    empty = json.loads(elsewhere.read_bytes()) | {"annotations": []}
    elsewhere.write_text(json.dumps(empty))
    assert "has no annotations" in refused("evaluate", checkpoint, "--annotations", elsewhere, *where[2:])
    other = tmp_path / "split.json"
    other.write_text('{"base": ["unicorn"], "target": []}')
    assert "its own classes begin" in refused("evaluate", checkpoint, *where[:4], "--split", other)
