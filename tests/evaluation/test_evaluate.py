from __future__ import annotations

import numpy as np
import pytest

from xpm_stream.config.role_sections import EvaluationConfig
from xpm_stream.errors import DataError
from xpm_stream.evaluation.detector import DetectionResult
from xpm_stream.evaluation.evaluate import evaluate_model
from xpm_stream.evaluation.truth import GroundTruth
from xpm_stream.masks import segmentation_to_rle

BASE, TARGET = ["person", "car", "chair", "bottle"], ["dog", "cat", "umbrella", "unicorn"]


class Oracle:
    """Knows the truth, but takes base objects for target ones where both vocabularies compete in one softmax."""

    def __init__(self, truth):
        self.truth = truth
        self.calls = []
        self.by_pixels = {}

    def read(self, image_id):
        size = self.truth.images[image_id]
        pixels = np.zeros((size["height"], size["width"], 3), np.uint8)
        pixels[0, :4, 0] = [image_id >> shift & 255 for shift in (0, 8, 16, 24)]  # the detector sees pixels only
        return pixels

    def detect(self, images, vocabularies):
        self.calls.append((len(images), [list(words) for words in vocabularies]))
        return [[self._look(image, words) for image in images] for words in vocabularies]

    def _look(self, pixels, words):
        image_id = sum(int(value) << shift for value, shift in zip(pixels[0, :4, 0], (0, 8, 16, 24), strict=True))
        names = {number: name for name, number in self.truth.category_ids.items()}
        found = [item for item in self.truth.of_classes(image_id, words) if not item["iscrowd"]]
        boxes = np.array([item["bbox"] for item in found], dtype=float).reshape(-1, 4)
        competing = "dog" in words and "person" in words
        return DetectionResult(
            image_id=0,
            boxes_xyxy=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
            scores=np.full(len(found), 0.9),
            class_names=[
                "person" if competing and names[item["category_id"]] in TARGET else names[item["category_id"]]
                for item in found
            ],
            masks=[
                segmentation_to_rle(item["segmentation"], height=pixels.shape[0], width=pixels.shape[1])
                for item in found
            ],
        )


class ProposingOracle(Oracle):
    def propose_boxes(self, images):
        return [self._look(image, [*BASE, *TARGET]).boxes_xyxy[:1] for image in images]


@pytest.fixture(scope="module")
def truth(coco_tiny):
    return GroundTruth.from_file(coco_tiny / "annotations" / "instances_val2017.json")


def run(detector, truth, **changes):
    config = EvaluationConfig(batch_images=8) if "config" not in changes else changes.pop("config")
    return evaluate_model(
        detector, truth=truth, read_image=detector.read, base=BASE, target=TARGET, config=config, **changes
    )


def test_both_settings_come_from_one_pass_over_the_images(truth):
    oracle = Oracle(truth)
    progress = []
    report = run(oracle, truth, on_progress=lambda done, total: progress.append((done, total)))
    images = truth.images_with([*BASE, *TARGET])
    assert sum(size for size, _ in oracle.calls) == len(images) == report.num_images
    assert progress[-1] == (len(images), len(images))
    known = [BASE, ["dog", "cat", "umbrella"]]
    assert oracle.calls[0][1] == [*known, known[0] + known[1]]
    assert report.absent_classes == ["unicorn"]
    # Alone in the softmax every target object is found; beside the base words none is.
    assert report.constrained["target"].by_split["target"].mask.ap50 == pytest.approx(1.0)
    assert report.generalized.by_split["target"].mask.ap50 == 0.0
    assert report.generalized.by_split["base"].mask.ap50 > 0.9
    assert report.constrained["base"].num_images < report.num_images
    assert report.proposals == {}


def test_the_report_becomes_the_percent_figures_of_the_summary(truth):
    scores = run(ProposingOracle(truth), truth).model_scores(checkpoint="ckpt-1", promotion=1, step=10)
    assert scores.constrained["target"].mask_ap50 == pytest.approx(100.0)
    assert set(scores.generalized) == {"base", "target", "all"}
    assert scores.generalized["target"].mask_ap50 == 0.0
    assert set(scores.proposal_recall["base"]) == {"10", "100", "300"}
    assert 0 < scores.proposal_recall["base"]["10"] == scores.proposal_recall["base"]["300"] < 100


def test_max_images_bounds_the_work(truth):
    oracle = Oracle(truth)
    assert run(oracle, truth, config=EvaluationConfig(max_images=5, batch_images=2)).num_images == 5
    assert sum(size for size, _ in oracle.calls) == 5
    assert max(size for size, _ in oracle.calls) <= 2


def test_images_of_a_batch_have_one_size_and_the_figures_are_those_of_images_alone(truth):
    class Padding(Oracle):
        """Sees nothing in images that have to be padded."""

        def detect(self, images, vocabularies):
            shapes.append({image.shape for image in images})
            return super().detect(images, vocabularies if len(shapes[-1]) == 1 else [[] for _ in vocabularies])

    shapes = []
    together = run(Padding(truth), truth)
    assert {len(some) for some in shapes} == {1}
    assert 1 < len(shapes) < together.num_images, "images of several sizes, some of which are shared"
    alone = run(Padding(truth), truth, config=EvaluationConfig(batch_images=1))
    assert len(shapes) > together.num_images
    assert alone.model_scores(checkpoint="c") == together.model_scores(checkpoint="c")


def test_a_split_without_images_is_not_asked_and_absent(truth):
    oracle = Oracle(truth)
    config = EvaluationConfig()
    report = evaluate_model(oracle, truth=truth, read_image=oracle.read, base=BASE, target=["unicorn"], config=config)
    assert set(report.constrained) == {"base"}
    assert report.generalized.by_split["target"].mask.ap50 is None
    with pytest.raises(DataError, match="no image contains any base or target"):
        evaluate_model(oracle, truth=truth, read_image=oracle.read, base=["unicorn"], target=[], config=config)


def test_an_answer_of_another_shape_is_refused(truth):
    class Deaf(Oracle):
        def detect(self, images, vocabularies):
            return super().detect(images, vocabularies[:1])

    with pytest.raises(DataError, match=r"asked 3 vocabularies of \d images and answered lists of \[\d\]"):
        run(Deaf(truth), truth)
