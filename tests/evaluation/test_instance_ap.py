from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes import IDS, annotation, document, result

from xpm_stream.errors import BaseSetError, DataError
from xpm_stream.evaluation.detector import DetectionResult
from xpm_stream.evaluation.instance_ap import score_instances
from xpm_stream.evaluation.truth import GroundTruth

CLASSES = ["dog", "cat", "umbrella", "kite"]
SPLITS = {"base": ["dog", "kite"], "target": ["cat", "umbrella"], "all": ["dog", "kite", "cat", "umbrella"]}


def random_scene(seed, *, images=12):
    """Boxes of several classes, crowds among them, and detections near, far and of the wrong class."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image_id in range(1, images + 1):
        found = []
        for _ in range(int(rng.integers(0, 7))):
            name = str(rng.choice([*CLASSES, "person"]))
            x, y = rng.integers(0, 40), rng.integers(0, 25)
            box = (int(x), int(y), int(x + rng.integers(4, 20)), int(y + rng.integers(4, 15)))
            annotations.append(annotation(len(annotations) + 1, image_id, name, box, iscrowd=int(rng.random() < 0.15)))
            for _ in range(int(rng.integers(0, 4))):
                word = name if rng.random() < 0.7 and name != "person" else str(rng.choice(CLASSES))
                near = np.clip(np.array(box) + rng.integers(-3, 4, 4), 0, 60)
                if near[2] > near[0] and near[3] > near[1]:
                    found.append((word, tuple(int(side) for side in near), float(np.round(rng.random(), 2))))
        results.append(result(image_id, found))
    return document(annotations, images=tuple(range(1, images + 1))), results


def pycocotools_stats(tmp_path, truth_document, results, *, iou_type, names, image_ids):
    """The plain road: annotations and results as files, COCOeval with default parameters, summarize()."""
    truth_file, results_file = tmp_path / "truth.json", tmp_path / "results.json"
    truth_file.write_text(json.dumps(truth_document))
    rows = []
    for item in results:
        for box, score, name, mask in zip(item.boxes_xyxy, item.scores, item.class_names, item.masks, strict=True):
            x0, y0, x1, y1 = box.tolist()
            row = {"image_id": item.image_id, "category_id": IDS[name], "score": float(score)}
            rows.append(row | ({"bbox": [x0, y0, x1 - x0, y1 - y0]} if iou_type == "bbox" else {"segmentation": mask}))
    results_file.write_text(json.dumps(rows))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(truth_file))
        evaluator = COCOeval(truth, truth.loadRes(str(results_file)), iou_type)
        evaluator.params.imgIds, evaluator.params.catIds = image_ids, [IDS[name] for name in names]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_pycocotools_to_the_last_digit(tmp_path, seed):
    truth_document, results = random_scene(seed)
    truth = GroundTruth.from_coco(truth_document)
    scores = score_instances(results, truth=truth, setting="generalized", splits=SPLITS)
    image_ids = truth.images_with(SPLITS["all"])
    assert scores.num_images == len(image_ids)
    wanted = {**{split: (names, scores.by_split[split]) for split, names in SPLITS.items()}}
    wanted |= {name: ([name], scores.by_class[name]) for name in CLASSES}
    for names, ours in wanted.values():
        for iou_type, kind in (("bbox", ours.box), ("segm", ours.mask)):
            stats = pycocotools_stats(
                tmp_path, truth_document, results, iou_type=iou_type, names=names, image_ids=image_ids
            )
            assert (kind.ap, kind.ap50) == (stats[0], stats[1])
    assert 0 < scores.by_split["all"].mask.ap < scores.by_split["all"].mask.ap50 < 1


def test_a_hand_worked_precision_recall_curve():
    # Two dogs; detections by score: right, wrong, right. Precision 1 up to recall 1/2, then 2/3 up to recall 1.
    truth = GroundTruth.from_coco(
        document([annotation(1, 1, "dog", (0, 0, 10, 10)), annotation(2, 2, "dog", (5, 5, 25, 25))])
    )
    results = [
        result(1, [("dog", (0, 0, 10, 10), 0.9), ("dog", (30, 20, 40, 30), 0.8)]),
        result(2, [("dog", (5, 5, 25, 25), 0.7)]),
    ]
    scores = score_instances(results, truth=truth, setting="constrained", splits={"base": ["dog"]})
    by_hand = (51 * 1 + 50 * 2 / 3) / 101  # 101 recall points; 0.00 to 0.50 are 51 of them
    assert scores.by_split["base"].box.ap50 == pytest.approx(by_hand)
    assert scores.by_split["base"].mask.ap == pytest.approx(by_hand)
    assert scores.by_split["base"].num_instances == 2


def test_the_constrained_setting_looks_only_at_images_that_contain_the_split():
    annotations = [annotation(1, 1, "dog", (0, 0, 10, 10)), annotation(2, 2, "cat", (5, 5, 25, 25))]
    truth = GroundTruth.from_coco(document(annotations))
    perfect = [("dog", (0, 0, 10, 10), 0.5)]
    false_alarm = result(2, [("dog", (30, 20, 40, 30), 0.9)])  # image 2 has no dog: it must not count
    results = [result(1, perfect), false_alarm]
    constrained = score_instances(results, truth=truth, setting="constrained", splits={"base": ["dog"]})
    assert (constrained.num_images, constrained.by_split["base"].mask.ap50) == (1, pytest.approx(1.0))
    together = score_instances(results, truth=truth, setting="generalized", splits=SPLITS)
    assert together.num_images == 2
    assert together.by_split["base"].mask.ap50 == pytest.approx(0.5)
    assert together.by_split["target"].mask.ap50 == 0.0
    assert together.by_split["all"].mask.ap50 == pytest.approx(0.25)


def test_classes_without_ground_truth_leave_the_mean_and_are_none_themselves():
    truth = GroundTruth.from_coco(document([annotation(1, 1, "dog", (0, 0, 10, 10))]))
    scores = score_instances(
        [result(1, [("dog", (0, 0, 10, 10), 0.5)])], truth=truth, setting="generalized", splits=SPLITS
    )
    assert scores.by_split["base"].box.ap50 == pytest.approx(1.0)
    assert scores.by_split["target"].box.ap50 is None
    assert scores.by_class["cat"].mask.ap is None


def test_a_detection_on_a_crowd_is_neither_right_nor_wrong():
    annotations = [annotation(1, 1, "dog", (0, 0, 10, 10)), annotation(2, 1, "dog", (20, 0, 60, 40), iscrowd=1)]
    truth = GroundTruth.from_coco(document(annotations))
    found = [("dog", (25, 5, 35, 15), 0.9), ("dog", (40, 20, 50, 30), 0.8), ("dog", (0, 0, 10, 10), 0.5)]
    scores = score_instances([result(1, found)], truth=truth, setting="generalized", splits={"base": ["dog"]})
    assert scores.by_split["base"].box.ap50 == pytest.approx(1.0)
    assert scores.by_split["base"].num_instances == 1


def test_an_annotation_numbered_zero_can_be_matched():
    truth = GroundTruth.from_coco(document([annotation(0, 1, "dog", (0, 0, 10, 10))]))
    scores = score_instances(
        [result(1, [("dog", (0, 0, 10, 10), 0.5)])], truth=truth, setting="generalized", splits={"base": ["dog"]}
    )
    assert scores.by_split["base"].box.ap50 == pytest.approx(1.0)


def test_wrong_input_is_named():
    truth = GroundTruth.from_coco(document([annotation(1, 1, "dog", (0, 0, 10, 10))]))
    empty = result(1, [])

    def score(results, names=("dog",)):
        return score_instances(results, truth=truth, setting="constrained", splits={"base": list(names)})

    assert score([empty]).by_split["base"].mask.ap50 == 0.0
    with pytest.raises(DataError, match="1 images have no result"):
        score([])
    with pytest.raises(DataError, match="two results"):
        score([empty, empty])
    with pytest.raises(DataError, match="cat; restrict the vocabulary"):
        score([result(1, [("cat", (0, 0, 5, 5), 0.5)])])
    with pytest.raises(DataError, match="no image contains"):
        score([empty], names=["cat"])
    with pytest.raises(DataError, match="do not belong together"):
        DetectionResult(image_id=1, boxes_xyxy=np.zeros((2, 4)), scores=np.zeros(1), class_names=["dog"], masks=[])
    with pytest.raises(DataError, match="not finite"):
        result(1, [("dog", (0, 0, 5, 5), float("nan"))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": None}, "no categories"),
        ({"annotations": [annotation(4, 99, "dog", (0, 0, 5, 5))]}, "image 99"),
        ({"annotations": [annotation(4, 1, "dog", (0, 0, 5, 5)) | {"category_id": 55}]}, "unknown category 55"),
        ({"annotations": [{"id": 4, "image_id": 1, "category_id": 7}]}, "annotation 4 has no bbox, area, segmentation"),
        ({"images": {"1": {}}}, "'images' is not a list of objects"),
        ({"annotations": [None]}, "'annotations' is not a list of objects"),
        ({"images": [{"id": "one", "height": 4, "width": 4}]}, "'images' has an 'id' that is no whole number: 'one'"),
        ({"images": [{"id": 1}]}, "image 1 has no height, width"),
    ],
)
def test_a_broken_annotation_document_is_refused_with_the_reason(change, message):
    broken = {key: value for key, value in (document([]) | change).items() if value is not None}
    with pytest.raises(BaseSetError, match=message):
        GroundTruth.from_coco(broken, source="val.json")


def test_a_missing_or_broken_annotation_file_is_named(tmp_path):
    with pytest.raises(BaseSetError, match=r"absent\.json"):
        GroundTruth.from_file(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BaseSetError, match=r"broken\.json"):
        GroundTruth.from_file(tmp_path / "broken.json")
