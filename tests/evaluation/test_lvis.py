"""LVIS's federated rules, each in a case small enough to be worked by hand."""

from __future__ import annotations

import pytest
from scenes import IDS, annotation, document, result

from xpm_stream.config.role_sections import EvaluationConfig
from xpm_stream.errors import BaseSetError
from xpm_stream.evaluation.evaluate import detections_per_image
from xpm_stream.evaluation.instance_ap import score_instances
from xpm_stream.evaluation.truth import GroundTruth

DOG, AWAY, FAR = (0, 0, 10, 10), (30, 20, 40, 30), (45, 5, 55, 15)


def lvis(annotations, *, absent=None, open_ended=None, images=(1, 2, 3)):
    """`absent` and `open_ended`: image id -> class names."""
    made = document(annotations, images=images)
    for image in made["images"]:
        image["neg_category_ids"] = [IDS[name] for name in (absent or {}).get(image["id"], ())]
        image["not_exhaustive_category_ids"] = [IDS[name] for name in (open_ended or {}).get(image["id"], ())]
    return GroundTruth.from_coco(made)


def dog_ap50(truth, results, *, max_detections=300, names=("dog",)):
    scores = score_instances(
        results, truth=truth, setting="constrained", splits={"base": list(names)}, max_detections=max_detections
    )
    assert scores.by_class["dog"].box == scores.by_class["dog"].mask  # masks are the boxes filled
    return scores.by_class["dog"].mask.ap50


ONE_DOG = [annotation(1, 1, "dog", DOG)]
FOUND = result(1, [("dog", DOG, 0.5)])


def test_the_rules_are_those_of_the_file():
    assert lvis(ONE_DOG).protocol == "lvis"
    assert GroundTruth.from_coco(document(ONE_DOG)).protocol == "coco"


def test_an_image_that_says_nothing_of_a_class_does_not_count_for_it():
    # A false dog scores higher in image 2. Nobody looked for dogs there: precision 1 at recall 1, AP 1.
    truth = lvis(ONE_DOG)
    assert truth.images_to_judge(["dog"]) == [1]
    assert dog_ap50(truth, [FOUND, result(2, [("dog", AWAY, 0.9)])]) == pytest.approx(1.0)


def test_a_detection_of_a_class_that_is_verified_absent_is_wrong():
    # The same, but image 2 is known to have no dog: wrong, then right. Precision at recall 1 is 1/2, AP 1/2.
    truth = lvis(ONE_DOG, absent={2: ["dog"]})
    assert truth.images_to_judge(["dog"]) == [1, 2]
    assert dog_ap50(truth, [FOUND, result(2, [("dog", AWAY, 0.9)])]) == pytest.approx(0.5)


def test_in_an_image_that_is_judged_for_another_class_an_unverified_class_still_does_not_count():
    # Image 2 is judged (it has a cat), and says nothing of dogs: AP of dogs stays 1.
    truth = lvis([*ONE_DOG, annotation(2, 2, "cat", DOG)])
    results = [FOUND, result(2, [("dog", AWAY, 0.9)])]
    assert dog_ap50(truth, results, names=("dog", "cat")) == pytest.approx(1.0)


def test_where_not_all_objects_of_a_class_are_annotated_a_detection_without_a_match_is_neither_right_nor_wrong():
    # Image 1 has more dogs than the one annotated. The higher false dog is left out, the match still counts: AP 1.
    found = [result(1, [("dog", AWAY, 0.9), ("dog", DOG, 0.5)])]
    assert dog_ap50(lvis(ONE_DOG, open_ended={1: ["dog"]}), found) == pytest.approx(1.0)
    # All dogs annotated: wrong, then right, AP 1/2.
    assert dog_ap50(lvis(ONE_DOG), found) == pytest.approx(0.5)
    # That cats are not all annotated says nothing of dogs.
    assert dog_ap50(lvis(ONE_DOG, open_ended={1: ["cat"]}), found) == pytest.approx(0.5)


def test_a_missed_object_counts_where_the_class_is_not_exhaustive_too():
    # Two dogs annotated, one found: precision 1 up to recall 1/2, then 0. 51 of 101 recall points.
    annotations = [*ONE_DOG, annotation(2, 1, "dog", AWAY)]
    ap50 = dog_ap50(lvis(annotations, open_ended={1: ["dog"]}), [FOUND])
    assert ap50 == pytest.approx(51 / 101)


def test_the_limit_is_of_an_image_over_all_its_classes():
    # Limit 2: the dog is the third best of its image, so it is not there: AP 0. COCO's limit is of each class: AP 1.
    found = [("cat", AWAY, 0.9), ("cat", FAR, 0.8), ("dog", DOG, 0.5)]
    annotations = [*ONE_DOG, annotation(2, 1, "cat", AWAY)]
    names = ("dog", "cat")
    assert dog_ap50(lvis(annotations), [result(1, found)], max_detections=2, names=names) == 0.0
    assert dog_ap50(lvis(annotations), [result(1, found)], max_detections=3, names=names) == pytest.approx(1.0)
    coco = GroundTruth.from_coco(document(annotations))
    assert dog_ap50(coco, [result(1, found)], max_detections=2, names=names) == pytest.approx(1.0)


def test_an_image_has_at_least_300_detections_judged():
    config = EvaluationConfig()
    assert (config.max_detections, detections_per_image("lvis", config)) == (100, 300)
    assert detections_per_image("coco", config) == 100
    assert detections_per_image("lvis", EvaluationConfig(max_detections=500)) == 500


def test_lvis_names_are_plain_words():
    made = document([annotation(1, 1, "dog", DOG)])
    names = ["aerosol_can", "bow_(weapon)", "bow_(decorative_ribbons)", "monitor_(computer_equipment) computer_monitor"]
    made["categories"] = [
        {"id": IDS["dog"] + place, "name": name, "frequency": "f"} for place, name in enumerate(names)
    ]
    known = GroundTruth.from_coco(made).category_ids
    assert list(known) == ["aerosol can", "bow (weapon)", "bow (decorative ribbons)", "monitor"]


def test_a_file_without_the_federated_fields_is_refused_as_lvis():
    with pytest.raises(BaseSetError, match="lvis image 1 has no neg_category_ids, not_exhaustive_category_ids"):
        GroundTruth.from_coco(document(ONE_DOG), protocol="lvis")
