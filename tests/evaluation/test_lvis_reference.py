"""LVIS's own evaluation, written out rule by rule from its published code, against ours on random federated scenes."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scenes import IDS, annotation, document, result

from xpm_stream.evaluation.instance_ap import score_instances
from xpm_stream.evaluation.truth import GroundTruth

CLASSES = ["kite", "dog", "umbrella", "cat"]
SPLITS = {"base": ["dog", "kite"], "target": ["umbrella", "cat"], "all": CLASSES}
IMAGES = tuple(range(1, 9))
LIMIT = 6  # of an image, all classes together; it binds
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


def random_box(rng):
    x, y = rng.integers(0, 45), rng.integers(0, 25)
    return tuple(map(int, (x, y, x + rng.integers(5, 15), y + rng.integers(5, 15))))


def moved(box, rng):
    return tuple(max(0, int(value + rng.integers(-1, 2))) for value in box)


def scene(seed):
    """Objects, classes verified absent or not exhaustively annotated, and detections of few different scores."""
    rng = np.random.default_rng(seed)
    objects, found = [], {}
    for image_id in IMAGES:
        here = [(str(rng.choice(CLASSES)), random_box(rng)) for _ in range(rng.integers(0, 5))]
        objects += [(image_id, name, box) for name, box in here]
        near = [(name, moved(box, rng)) for name, box in here for _ in range(rng.integers(0, 3))]
        false = [(str(rng.choice(CLASSES)), random_box(rng)) for _ in range(rng.integers(0, 4))]
        found[image_id] = [(name, box, float(rng.integers(1, 6)) / 10) for name, box in near + false]
    made = document(
        [annotation(number, *one) for number, one in enumerate(objects, start=1)],
        images=IMAGES,
    )
    for image in made["images"]:
        present = {name for image_id, name, _ in objects if image_id == image["id"]}
        image["neg_category_ids"] = [IDS[name] for name in CLASSES if name not in present and rng.random() < 0.4]
        image["not_exhaustive_category_ids"] = [IDS[name] for name in CLASSES if rng.random() < 0.2]
    return made, [result(image_id, some) for image_id, some in found.items()]


def lvis_precision(made, results, name, kind):
    """LVISEval's precision [thresholds, recalls] of a class; None without an object."""
    category, rows, num_objects = IDS[name], [], 0
    for image, one in zip(made["images"], results, strict=True):
        items = [item for item in made["annotations"] if item["image_id"] == image["id"]]
        best = sorted(range(len(one.scores)), key=lambda place: -one.scores[place])[:LIMIT]  # limit_dets_per_image
        objects = [item for item in items if item["category_id"] == category]
        num_objects += len(objects)
        if not objects and category not in image["neg_category_ids"]:
            continue  # neither verified there nor verified absent
        mine = [place for place in best if one.class_names[place] == name]
        open_ended = category in image["not_exhaustive_category_ids"]
        if kind == "mask":
            pair = [one.masks[place] for place in mine], [item["segmentation"] for item in objects]
        else:
            corners = [one.boxes_xyxy[place] for place in mine]
            pair = [[x, y, x1 - x, y1 - y] for x, y, x1, y1 in corners], [item["bbox"] for item in objects]
        ious = coco_mask.iou(*pair, [0] * len(objects)) if mine and objects else np.zeros((len(mine), len(objects)))
        free = np.ones((len(THRESHOLDS), len(objects)), dtype=bool)
        for row, place in enumerate(mine):
            right = []
            for level, threshold in enumerate(THRESHOLDS):
                overlap, match = min(threshold, 1 - 1e-10), None
                for other in np.flatnonzero(free[level]):
                    if ious[row, other] >= overlap:
                        overlap, match = ious[row, other], other
                right.append(match is not None)
                if match is not None:
                    free[level, match] = False
            rows.append((one.scores[place], right, open_ended))
    if not num_objects:
        return None
    rows.sort(key=lambda row: -row[0])
    precision = np.zeros((len(THRESHOLDS), len(RECALLS)))
    for level in range(len(THRESHOLDS)):
        right = np.array([row[1][level] for row in rows if row[1][level] or not row[2]], dtype=float)
        true, false = np.cumsum(right), np.cumsum(1 - right)
        envelope = np.maximum.accumulate((true / (false + true + np.spacing(1)))[::-1])[::-1]
        for point, place in enumerate(np.searchsorted(true / num_objects, RECALLS, side="left")):
            precision[level, point] = envelope[place] if place < len(envelope) else 0.0
    return precision


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_every_figure_equals_lvis_rules_to_the_last_digit(seed, kind):
    made, results = scene(seed)
    truth = GroundTruth.from_coco(made)
    judged = truth.images_to_judge(CLASSES)
    ours = score_instances(results, truth=truth, setting="generalized", splits=SPLITS, max_detections=LIMIT)
    expected = {name: lvis_precision(made, results, name, kind) for name in CLASSES}
    assert len(judged) > 4
    for name in CLASSES:
        figure = getattr(ours.by_class[name], kind)
        if expected[name] is None:
            assert (figure.ap50, figure.ap) == (None, None)
        else:
            assert (figure.ap50, figure.ap) == (np.mean(expected[name][0]), np.mean(expected[name]))
    for split, names in SPLITS.items():
        there = sorted((name for name in names if expected[name] is not None), key=IDS.__getitem__)
        together = np.stack([expected[name] for name in there], axis=2)
        figure = getattr(ours.by_split[split], kind)
        assert (figure.ap50, figure.ap) == (np.mean(together[0]), np.mean(together))
        assert 0 < figure.ap < 1
