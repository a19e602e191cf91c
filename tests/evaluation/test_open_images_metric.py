"""The Open Images challenge's rules, each in a case small enough to be worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import IDS, annotation, document, result

from xpm_stream.data.open_images_files import DESCRIPTION
from xpm_stream.errors import BaseSetError
from xpm_stream.evaluation.instance_ap import score_instances
from xpm_stream.evaluation.truth import GroundTruth

DOG, SECOND, AWAY = (0, 0, 10, 10), (0, 20, 10, 30), (30, 20, 40, 30)


def open_images(annotations, *, absent=None, present=None, images=(1, 2, 3)):
    made = document(annotations, images=images) | {"info": {"description": DESCRIPTION}}
    for image in made["images"]:
        image["neg_category_ids"] = [IDS[name] for name in (absent or {}).get(image["id"], ())]
        image["pos_category_ids"] = [IDS[name] for name in (present or {}).get(image["id"], ())]
    return GroundTruth.from_coco(made)


def group(number, image_id, name, box):
    return annotation(number, image_id, name, box, iscrowd=1) | {"is_group_of": 1}


def box_only(number, image_id, name, box):
    return annotation(number, image_id, name, box, iscrowd=1) | {"is_box_only": 1}


def judge(truth, *results):
    scores = score_instances(
        results, truth=truth, setting="constrained", splits={"base": ["dog"]}, max_detections=300
    ).by_class["dog"]
    assert scores.mask.ap is None, "the challenge has one threshold"
    return scores


def mask_ap(truth, *results):
    return judge(truth, *results).mask.ap50


ONE_DOG = [annotation(1, 1, "dog", DOG)]


def test_ap_is_the_whole_area_under_the_curve():
    # Three dogs; right, wrong, right: precision 1 up to recall 1/3, 2/3 up to recall 2/3, 0 from there.
    # Area 1/3 * 1 + 1/3 * 2/3 = 5/9. (At COCO's 101 points it would be (34 + 33 * 2/3) / 101.)
    truth = open_images([*ONE_DOG, annotation(2, 1, "dog", SECOND), annotation(3, 2, "dog", DOG)])
    found = [("dog", DOG, 0.9), ("dog", AWAY, 0.8), ("dog", SECOND, 0.7)]
    assert mask_ap(truth, result(1, found), result(2, [])) == pytest.approx(5 / 9, abs=1e-12)


def test_only_images_in_which_the_class_is_verified_count():
    found = result(1, [("dog", DOG, 0.5)])
    false_dog = result(2, [("dog", AWAY, 0.9)])
    assert mask_ap(open_images(ONE_DOG), found, false_dog) == pytest.approx(1.0)
    # Verified absent, or verified present without a box: the detection is wrong. Wrong, right: area 1 * 1/2.
    assert mask_ap(open_images(ONE_DOG, absent={2: ["dog"]}), found, false_dog) == pytest.approx(0.5)
    assert mask_ap(open_images(ONE_DOG, present={2: ["dog"]}), found, false_dog) == pytest.approx(0.5)


def test_detections_inside_a_group_are_ignored_and_the_group_is_nothing_to_be_found():
    truth = open_images([*ONE_DOG, group(2, 1, "dog", (20, 0, 60, 40))])
    inside = [("dog", AWAY, 0.9), ("dog", (45, 5, 55, 15), 0.8)]
    assert mask_ap(truth, result(1, [*inside, ("dog", DOG, 0.5)])) == pytest.approx(1.0)
    assert mask_ap(truth, result(1, inside)) == 0.0, "a group is not found by what lies in it"
    # 3 of 10 columns of a detection lie inside: intersection over its area 0.3, so it is wrong. AP 1/2.
    outside = [("dog", (13, 0, 23, 10), 0.9), ("dog", DOG, 0.5)]
    assert mask_ap(truth, result(1, outside)) == pytest.approx(0.5)


def test_a_match_with_an_object_comes_before_the_group_it_lies_in():
    truth = open_images([*ONE_DOG, group(2, 1, "dog", (0, 0, 60, 40))])
    assert mask_ap(truth, result(1, [("dog", DOG, 0.9)])) == pytest.approx(1.0)


def test_a_detection_may_match_only_what_it_overlaps_most():
    first, second = (0, 0, 10, 10), (2, 0, 12, 10)
    truth = open_images([annotation(1, 1, "dog", first), annotation(2, 1, "dog", second)])
    found = result(1, [("dog", first, 0.9), ("dog", first, 0.8)])
    # Both detections are exactly A; B is free, and overlaps them by 8/12. The challenge: right, wrong; recall 1/2.
    assert mask_ap(truth, found) == pytest.approx(0.5)
    # COCO lets the second one have B: AP 1.
    coco = GroundTruth.from_coco(document([annotation(1, 1, "dog", first), annotation(2, 1, "dog", second)]))
    scores = score_instances([found], truth=coco, setting="constrained", splits={"base": ["dog"]})
    assert scores.by_class["dog"].mask.ap50 == pytest.approx(1.0)


def test_a_box_without_a_mask_takes_one_detection_out_of_the_account_of_masks():
    truth = open_images([*ONE_DOG, box_only(2, 1, "dog", AWAY)])
    scores = judge(truth, result(1, [("dog", AWAY, 0.9), ("dog", DOG, 0.5)]))
    # Masks: one dog to be found, the other detection is left out. Boxes: both are objects, both are found.
    assert (scores.mask.ap50, scores.box.ap50) == (pytest.approx(1.0), pytest.approx(1.0))
    scores = judge(truth, result(1, [("dog", AWAY, 0.9), ("dog", AWAY, 0.8), ("dog", DOG, 0.5)]))
    # The second one on the same box is wrong. Masks: wrong, right: 1/2. Boxes: right, wrong, right: 1/2 + 1/2 * 2/3.
    assert (scores.mask.ap50, scores.box.ap50) == (pytest.approx(1 / 2), pytest.approx(5 / 6))


def plain_challenge_ap(truth, results, *, kind):
    """The challenge's rules for dogs, written out one by one; AP as the area under precision made monotone."""
    outcomes, count = [], 0
    for found in results:
        if IDS["dog"] not in truth.verified(found.image_id):
            continue
        dogs = truth.of_classes(found.image_id, ["dog"])
        groups = [item for item in dogs if item.get("is_group_of")]
        boxes = [item for item in dogs if item.get("is_box_only") and kind == "mask"]
        objects = [item for item in dogs if item not in groups and item not in boxes]
        count += len(objects)
        taken = set()
        order = sorted(range(len(found.scores)), key=lambda place: -found.scores[place])
        waiting = []
        for place in order:
            box = found.boxes_xyxy[place]
            best = max(objects, key=lambda item: iou(box, item), default=None)
            if best is not None and iou(box, best) >= 0.5 and best["id"] not in taken:
                taken.add(best["id"])
                outcomes.append((-found.scores[place], True))
            else:
                waiting.append(place)
        for place in waiting:
            box = found.boxes_xyxy[place]
            best = max(boxes, key=lambda item: iou(box, item), default=None)
            if best is not None and iou(box, best) >= 0.5 and best["id"] not in taken:
                taken.add(best["id"])
            elif not any(shared(box, item) / area(box) >= 0.5 for item in groups):
                outcomes.append((-found.scores[place], False))
    right, curve = 0, []
    for place, (_, is_right) in enumerate(sorted(outcomes, key=lambda item: item[0])):
        right += is_right
        curve.append((right, right / (place + 1)))
    best_from = [max((precision for hits, precision in curve if hits >= k), default=0.0) for k in range(1, count + 1)]
    return sum(best_from) / count if count else None


def corners(item):
    x, y, width, height = item["bbox"]
    return x, y, x + width, y + height


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def shared(box, item):
    other = corners(item)
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0)


def iou(box, item):
    return shared(box, item) / (area(box) + area(corners(item)) - shared(box, item))


@pytest.mark.parametrize("seed", range(6))
def test_random_scenes_come_out_as_the_rules_say_one_by_one(seed):
    rng = np.random.default_rng(seed)
    annotations, results = [], []

    def some_box(low=6, high=25):
        x, y = (int(value) for value in rng.integers(0, (35, 15)))
        return x, y, x + int(rng.integers(low, high)), y + int(rng.integers(low, high))

    for image_id in range(1, 13):
        found = []
        for _ in range(int(rng.integers(0, 6))):
            make = rng.choice([annotation, annotation, group, box_only])
            box = some_box()
            annotations.append(make(len(annotations) + 1, image_id, "dog", box))
            near = np.clip(np.array([box] * 3) + rng.integers(-3, 4, (3, 4)), 0, (60, 40) * 2)
            found += [("dog", tuple(int(side) for side in one)) for one in near]
        found += [("dog", some_box()) for _ in range(2)]
        scores = rng.permutation(1000)[: len(found)] / 1000  # no ties: the rules do not say how they are broken
        kept = [(*one, score) for one, score in zip(found, scores, strict=True) if one[1][2] > one[1][0] + 1]
        results.append(result(image_id, [one for one in kept if one[1][3] > one[1][1] + 1]))
    truth = open_images(annotations, absent={place: ["dog"] for place in (2, 4, 6)}, images=tuple(range(1, 13)))
    # Scores of different images may be equal; they are then shifted apart.
    for place, found in enumerate(results):
        found.scores[:] += place * 1e-5
    judged = [found for found in results if found.image_id in truth.images_to_judge(["dog"])]
    scores = judge(truth, *judged)
    assert scores.box.ap50 == pytest.approx(plain_challenge_ap(truth, results, kind="box"), abs=1e-12)
    assert scores.mask.ap50 == pytest.approx(plain_challenge_ap(truth, results, kind="mask"), abs=1e-12)
    assert 0 < scores.mask.ap50 < 1


def test_a_class_without_an_object_to_find_has_no_ap():
    truth = open_images([group(1, 1, "dog", DOG)])
    assert mask_ap(truth, result(1, [("dog", DOG, 0.9)])) is None


def test_iou_of_one_half_is_enough():
    # A 10 x 10 dog and a detection of its upper half: IoU exactly 0.5.
    assert mask_ap(open_images(ONE_DOG), result(1, [("dog", (0, 0, 10, 5), 0.9)])) == pytest.approx(1.0)


def test_a_file_that_says_nothing_of_images_is_refused():
    with pytest.raises(BaseSetError, match="open_images image 1 has no neg_category_ids, pos_category_ids"):
        GroundTruth.from_coco(document(ONE_DOG), protocol="open_images")
