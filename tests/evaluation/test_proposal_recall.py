from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from xpm_stream.errors import DataError
from xpm_stream.evaluation.detector import ProposalResult
from xpm_stream.evaluation.proposal_recall import proposal_recall
from xpm_stream.evaluation.truth import GroundTruth

SPLITS = {"base": ["dog", "kite"], "target": ["cat"]}
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 5, "name": "kite"}]


def truth_of(boxes, *, images):
    """boxes: (image id, category id, xyxy, is crowd)."""
    annotations = [
        {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": crowd,
            "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
        }
        for number, (image_id, category_id, (x0, y0, x1, y1), crowd) in enumerate(boxes, start=1)
    ]
    sizes = [{"id": image_id, "height": 100, "width": 100} for image_id in images]
    return {"images": sizes, "annotations": annotations, "categories": CATEGORIES}


def random_scene(seed):
    rng = np.random.default_rng(seed)
    images, boxes, proposals = range(1, 9), [], []
    for image_id in images:
        near = []
        for _ in range(int(rng.integers(0, 9))):
            x, y, w, h = *rng.integers(0, 70, 2), *rng.integers(5, 30, 2)
            box = (int(x), int(y), int(x + w), int(y + h))
            boxes.append((image_id, int(rng.choice([1, 2, 5])), box, int(rng.random() < 0.2)))
            near.extend(np.array(box) + rng.integers(-3, 4, 4) for _ in range(int(rng.integers(0, 5))))
        noise = np.concatenate([rng.integers(0, 50, (20, 2)), rng.integers(51, 100, (20, 2))], axis=1)
        found = np.concatenate([np.array(near).reshape(-1, 4), noise]).astype(float)
        proposals.append(ProposalResult(image_id=image_id, boxes_xyxy=rng.permutation(found)))
    return truth_of(boxes, images=images), proposals


def coco_recall(document, proposals, *, category_ids, budget):
    coco, found = COCO(), COCO()
    coco.dataset = document
    rows = []
    for item in proposals:
        for rank, (x0, y0, x1, y1) in enumerate(item.boxes_xyxy.tolist()):
            box = [x0, y0, x1 - x0, y1 - y0]
            row = {
                "id": len(rows) + 1,
                "image_id": item.image_id,
                "category_id": 1,
                "bbox": box,
                "score": 1 - rank / 1e4,
            }
            rows.append(row | {"area": box[2] * box[3], "iscrowd": 0})
    found.dataset = {"images": document["images"], "annotations": rows, "categories": CATEGORIES}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        found.createIndex()
        evaluator = COCOeval(coco, found, "bbox")
        evaluator.params.useCats = 0
        evaluator.params.maxDets = [budget]
        evaluator.params.iouThrs = np.array([0.5])
        # Without categories COCOeval reads all annotations, so the others are taken out beforehand.
        coco.dataset = document | {
            "annotations": [item for item in document["annotations"] if item["category_id"] in category_ids]
        }
        coco.createIndex()
        evaluator.evaluate()
        evaluator.accumulate()
    return float(evaluator.eval["recall"][0, 0, 0, 0])


@pytest.mark.parametrize("seed", range(4))
def test_recall_equals_cocoevals_class_agnostic_recall(seed):
    document, proposals = random_scene(seed)
    recall = proposal_recall(proposals, truth=GroundTruth.from_coco(document), splits=SPLITS, budgets=(1, 3, 10, 100))
    for split, ids in (("base", {2, 5}), ("target", {1})):
        for budget, ours in recall[split].at.items():
            assert ours == coco_recall(document, proposals, category_ids=ids, budget=budget)
    assert 0 < recall["base"].at[3] < recall["base"].at[100] <= 1


def test_one_proposal_finds_one_object_and_ranks_decide_the_budget():
    # Two dogs on nearly the same place; the first proposal takes one, the third takes the other.
    document = truth_of([(1, 2, (0, 0, 20, 20), 0), (1, 2, (1, 0, 21, 20), 0)], images=[1])
    boxes = np.array([[0.0, 0, 20, 20], [60, 60, 90, 90], [1, 1, 20, 20]])
    recall = proposal_recall(
        [ProposalResult(image_id=1, boxes_xyxy=boxes)],
        truth=GroundTruth.from_coco(document),
        splits=SPLITS,
        budgets=(1, 2, 3),
    )
    assert dict(recall["base"].at) == {1: 0.5, 2: 0.5, 3: 1.0}
    assert dict(recall["target"].at) == {1: None, 2: None, 3: None}


def test_crowds_are_no_objects_and_an_image_without_proposals_loses_its_objects():
    document = truth_of([(1, 2, (0, 0, 20, 20), 1), (2, 2, (0, 0, 20, 20), 0)], images=[1, 2])
    truth = GroundTruth.from_coco(document)
    none = ProposalResult(image_id=2, boxes_xyxy=np.zeros((0, 4)))
    full = ProposalResult(image_id=1, boxes_xyxy=np.array([[0.0, 0, 20, 20]]))
    recall = proposal_recall([none, full], truth=truth, splits=SPLITS)["base"]
    assert recall.num_instances == 1
    assert recall.at[300] == 0.0
    with pytest.raises(DataError, match="two proposal results"):
        proposal_recall([none, none], truth=truth, splits=SPLITS)
