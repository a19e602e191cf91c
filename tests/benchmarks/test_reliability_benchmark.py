"""The reliability benchmark on a real run folder (an untrained teacher), and its judging on hand-made labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import reliability  # noqa: E402
from benchmarks.reliability import Scores  # noqa: E402
from benchmarks.synthetic_truth import Judge, KnownImage, coco_truth, known_images  # noqa: E402
from xpm_stream.config import RunConfig  # noqa: E402
from xpm_stream.config.loading import parse_config, save_resolved  # noqa: E402
from xpm_stream.data.splits import load_split  # noqa: E402
from xpm_stream.methods import find_method  # noqa: E402
from xpm_stream.registry.checkpoints import CheckpointStore  # noqa: E402
from xpm_stream.registry.promotion_log import PromotionLog  # noqa: E402
from xpm_stream.stages.network_files import network_files  # noqa: E402
from xpm_stream.stages.preparation import prepare_data  # noqa: E402
from xpm_stream.stages.run_folder import RunFolder  # noqa: E402


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run folder with a tiny corpus and two promoted teachers that never learnt."""
    root = tmp_path_factory.mktemp("run")
    tree = {
        "folder": str(root),
        "prepare": {"synthetic": {"preset": "tiny"}},
        "text": {"cache": str(tmp_path_factory.getbasetemp() / "embeddings")},
        "model": {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16},
    }
    config = prepare_data(parse_config(tree, source="test"))
    save_resolved(config, root)
    base = load_split(config.data.split.file).base
    registry = RunFolder.of(config).registry_url(config)
    for step in (4, 8):
        torch.manual_seed(step)
        method = find_method("xpm")(config, base_classes=base)
        name = f"teacher-{step}"
        CheckpointStore(f"{registry}/checkpoints").write(
            name, network_files(method, config=config, base_classes=list(base))
        )
        PromotionLog(registry).append("promote", by="test", checkpoint=name, step=step)
    return config


def test_it_prints_a_row_for_each_strategy_and_writes_the_curves(
    run: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.folder is not None
    reliability.main(
        [
            run.folder,
            "--images",
            "10",
            "--batch",
            "4",
            "--json",
            str(tmp_path / "figures.json"),
            "--curves",
            str(tmp_path / "curves.png"),
        ]
    )
    printed = capsys.readouterr().out
    for strategy in ("class score, vocabulary", "class score, logit", "pixel score", "dropout entropy", "noise"):
        assert printed.count(f"| {strategy} |") == 3
        assert printed.count(f"| {strategy}, standardised per word |") == 3
    for assignment in ("argmax", "exclusive"):
        for context in ("vocabulary", "caption"):
            assert printed.count(f"| {assignment}, {context} |") == 1
    assert "teacher 1 (step 4)" in printed
    assert "teacher 2 (step 8)" in printed
    first, second = json.loads((tmp_path / "figures.json").read_text())
    assert first["right"] != second["right"] or first["quality"] != second["quality"]
    counts = {key: groups["all"]["count"] for key, groups in first["quality"].items()}
    assert len(set(counts.values())) == 1  # every strategy scored the same labels
    assert first["right"]["exclusive, vocabulary"]["all"][1] == counts["noise"] > 0
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > picture.height > 300
        assert len(set(picture.convert("RGB").get_flattened_data())) > 50


def test_true_boxes_are_right_moved_or_misnamed_ones_wrong_and_places_are_kept(run: RunConfig) -> None:
    known = known_images(run, number=6)
    assert len(known) == 6
    labels, expected, groups = [], [], []
    split = load_split(run.data.split.file)
    for item in known:
        of_image: list[tuple[str, list[float]]] = [("no such word", [0.0, 0.0, 5.0, 5.0])]
        expected.append(None)
        groups.append(None)
        for instance in item.truth.instances:
            x0, y0, x1, y1 = instance.box_xyxy
            of_image.append((instance.word, [x0, y0, x1, y1]))
            of_image.append((instance.word, [x0 + 500, y0 + 500, x1 + 500, y1 + 500]))
            expected += [True, False]
            groups += [instance.word in split.target] * 2
        labels.append(of_image)
    judged = Judge(run, known).judge(labels)
    assert [place for place, _ in judged] == [place for place, right in enumerate(expected) if right is not None]
    assert [item.right for _, item in judged] == [right for right in expected if right is not None]
    assert [item.group == "target" for _, item in judged] == [group for group in groups if group is not None]


def test_the_truth_holds_every_instance_of_every_image(run: RunConfig) -> None:
    known: list[KnownImage] = known_images(run, number=4)
    counted = coco_truth(known).count_instances()
    assert sum(counted.values()) == sum(len(item.truth.instances) for item in known)


def test_scores_are_standardised_within_each_word_as_they_come() -> None:
    scores, rng = Scores(), np.random.default_rng(0)
    for _ in range(300):
        values = [float(rng.normal(-1, 1.5)), float(rng.normal(-4, 1.5))]
        scores.add("x", ["easy", "hard"], values, [0.9, 0.1])
    rows = scores.by_strategy()
    standardised = np.array(rows["x, standardised per word"]).reshape(-1, 2)[100:]
    assert abs(standardised[:, 0].mean() - standardised[:, 1].mean()) < 0.15
    assert rows["x"][:2] == [0.9, 0.1]
