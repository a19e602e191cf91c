"""The figures are pycocotools' own: the same detections, judged by COCOeval on the plain road, give the same digits."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes import IDS, annotation, document, result

from xpm_stream.evaluation.detector import ProposalResult
from xpm_stream.evaluation.instance_ap import score_instances
from xpm_stream.evaluation.proposal_recall import proposal_recall
from xpm_stream.evaluation.truth import GroundTruth

SPLITS = {"base": ["dog", "kite"], "target": ["cat", "umbrella"], "all": ["dog", "kite", "cat", "umbrella"]}
MAX_DETECTIONS = 5


def hard_scene(seed):
    """Crowds, equal scores, images without objects or detections, and more of a class than an image may have."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image_id in range(1, 21):
        found = []
        for _ in range(0 if image_id % 5 == 0 else int(rng.integers(1, 6))):
            name = str(rng.choice([*SPLITS["all"], "person"]))
            x, y = (int(value) for value in rng.integers(0, (40, 25)))
            box = (x, y, x + int(rng.integers(4, 20)), y + int(rng.integers(4, 15)))
            annotations.append(annotation(len(annotations) + 1, image_id, name, box, iscrowd=int(rng.random() < 0.2)))
            for _ in range(int(rng.integers(0, 5))):
                near = tuple(int(side) for side in np.clip(np.array(box) + rng.integers(-2, 3, 4), 0, (60, 40) * 2))
                if near[2] > near[0] and near[3] > near[1] and name != "person":
                    found.append((name, near, float(rng.integers(1, 6)) / 5))  # five scores: nearly all are ties
        if image_id % 7 == 0:
            x = rng.integers(0, 40, 9)
            found += [("dog", (int(left), 0, int(left) + 9, 12), 0.4) for left in x]
        results.append(result(image_id, [] if image_id % 6 == 0 else found))
    return document(annotations, images=tuple(range(1, 21))), results


def by_pycocotools(truth_document, rows, *, iou_type, names, image_ids, max_detections=(1, 10, 100), use_classes=1):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = truth_document
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(rows), iou_type)
        evaluator.params.imgIds, evaluator.params.catIds = list(image_ids), [IDS[name] for name in names]
        evaluator.params.maxDets = list(max_detections)
        evaluator.params.useCats = use_classes
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval


def rows_of(results, iou_type, *, names):
    rows = []
    for item in results:
        for box, score, name, mask in zip(item.boxes_xyxy, item.scores, item.class_names, item.masks, strict=True):
            x0, y0, x1, y1 = box.tolist()
            shape = {"bbox": [x0, y0, x1 - x0, y1 - y0]} if iou_type == "bbox" else {"segmentation": mask}
            if name in names:
                rows.append({"image_id": item.image_id, "category_id": IDS[name], "score": float(score)} | shape)
    return rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("setting", ["generalized", "base", "target"])
def test_every_figure_equals_cocoeval_to_the_last_digit(seed, setting):
    truth_document, results = hard_scene(seed)
    truth = GroundTruth.from_coco(truth_document)
    splits = SPLITS if setting == "generalized" else {setting: SPLITS[setting]}
    asked = SPLITS["all"] if setting == "generalized" else SPLITS[setting]
    image_ids = {
        item["image_id"] for item in truth_document["annotations"] if item["category_id"] in map(IDS.get, asked)
    }
    ours = [only(item, asked) for item in results if item.image_id in image_ids]
    scores = score_instances(
        ours,
        truth=truth,
        setting="generalized" if setting == "generalized" else "constrained",
        splits=splits,
        max_detections=MAX_DETECTIONS,
    )
    assert max(sum(name == "dog" for name in item.class_names) for item in results) > MAX_DETECTIONS
    wanted = {**{split: (names, scores.by_split[split]) for split, names in splits.items()}}
    wanted |= {name: ([name], scores.by_class[name]) for name in asked}
    for names, figures in wanted.values():
        for iou_type, kind in (("bbox", figures.box), ("segm", figures.mask)):
            precision = by_pycocotools(
                truth_document,
                rows_of(results, iou_type, names=asked),
                iou_type=iou_type,
                names=names,
                image_ids=image_ids,
                max_detections=[MAX_DETECTIONS],
            )["precision"][:, :, :, 0, 0]
            assert kind.ap50 == np.mean(precision[0][precision[0] > -1])
            assert kind.ap == np.mean(precision[precision > -1])
    assert 0 < scores.by_split[next(iter(splits))].mask.ap < 1


@pytest.mark.parametrize("seed", range(3))
def test_proposal_recall_equals_cocoeval_without_classes(seed):
    truth_document, _ = hard_scene(seed)
    truth = GroundTruth.from_coco(truth_document)
    rng = np.random.default_rng(seed)
    proposals = []
    for image_id in truth.images:
        boxes = [np.array(item["bbox"]) + rng.integers(-3, 4, 4) for item in truth.annotations[image_id]]
        boxes += [rng.integers(1, 20, 4) for _ in range(150)]
        corners = np.array([[x, y, x + max(w, 1), y + max(h, 1)] for x, y, w, h in boxes], dtype=float)
        proposals.append(ProposalResult(image_id=image_id, boxes_xyxy=rng.permutation(corners)))
    budgets = (10, 100, 300)
    found = proposal_recall(proposals, truth=truth, splits=SPLITS, budgets=budgets)
    for split, names in SPLITS.items():
        known = {IDS[name] for name in names}
        only_these = truth_document | {
            "annotations": [item for item in truth_document["annotations"] if item["category_id"] in known]
        }
        rows = [
            {
                "image_id": item.image_id,
                "category_id": IDS[names[0]],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "score": 1 - place / 1000,
            }
            for item in proposals
            for place, box in enumerate(item.boxes_xyxy.tolist())
        ]
        recall = by_pycocotools(
            only_these,
            rows,
            iou_type="bbox",
            names=names,
            image_ids=truth.images,
            max_detections=budgets,
            use_classes=0,
        )["recall"][0, 0, 0]
        assert [found[split].at[budget] for budget in budgets] == recall.tolist()
    assert found["all"].at[10] < found["all"].at[100] < found["all"].at[300] <= 1


def only(item, names):
    kept = [place for place, name in enumerate(item.class_names) if name in names]
    found = [(item.class_names[place], tuple(item.boxes_xyxy[place].tolist()), item.scores[place]) for place in kept]
    return result(item.image_id, found)
