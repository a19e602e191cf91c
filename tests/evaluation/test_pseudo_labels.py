from __future__ import annotations

import pytest

from xpm_stream.errors import BaseSetError
from xpm_stream.evaluation.pseudo_labels import pseudo_label_accuracy
from xpm_stream.evaluation.truth import GroundTruth
from xpm_stream.masks import MASK_BYTES
from xpm_stream.records import InstanceAnnotation, PseudoInstance

CATEGORIES = {"dog": 1, "cat": 2, "tree": 3}


def truth_of(*boxes):
    """boxes: (image id, class name, xywh, is crowd)."""
    return GroundTruth.from_coco(
        {
            "images": [{"id": image_id, "height": 100, "width": 100} for image_id in (1, 2)],
            "annotations": [
                {
                    "id": number,
                    "image_id": image_id,
                    "category_id": CATEGORIES[name],
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": crowd,
                    "segmentation": [[0, 0, 1, 0, 1, 1]],
                }
                for number, (image_id, name, box, crowd) in enumerate(boxes, start=1)
            ],
            "categories": [{"id": number, "name": name} for name, number in CATEGORIES.items()],
        }
    )


def labels(*instances):
    """instances: (word, xyxy)."""
    return InstanceAnnotation(
        instances=[
            PseudoInstance(word=word, box_xyxy=box, mask_bits=bytes(MASK_BYTES), score=0.5, reliability=0.7)
            for word, box in instances
        ]
    )


def test_right_means_present_and_overlapping_and_shares_go_by_word_and_group():
    truth = truth_of((1, "dog", (0, 0, 10, 10), 0), (1, "cat", (50, 50, 20, 20), 0), (2, "tree", (0, 0, 30, 30), 0))
    outcome = pseudo_label_accuracy(
        {
            1: labels(
                ("dog", (0, 0, 10, 5)), ("cat", (0, 0, 10, 10)), ("puppy", (0, 0, 10, 10)), ("sky", (0, 0, 9, 9))
            ),
            2: labels(("dog", (0, 0, 30, 30)), ("tree", (0, 0, 30, 29))),
        },
        truth=truth,
        base=["dog"],
        target=["cat", "umbrella"],
        synonyms={"puppy": "dog", "sky": "heaven"},
    )
    # dog at IoU exactly 0.5 is right; the dog of image 2 is not there; the cat is there, but elsewhere.
    rows = [(item.instance.word, item.group, item.present, item.right) for item in outcome.judged]
    assert rows == [
        ("dog", "base", True, True),
        ("cat", "target", True, False),
        ("puppy", "base", True, True),
        ("dog", "base", False, False),
        ("tree", "other", True, True),
    ]
    base = outcome.by_group["base"]
    assert (base.count, base.present, base.right, base.accuracy) == (3, 2, 2, pytest.approx(2 / 3))
    assert outcome.by_group["target"].accuracy == 0.0
    assert outcome.by_word["dog"].accuracy == 0.5
    assert outcome.unknown_words == {"sky": 1}


def test_overlap_with_a_crowd_is_measured_over_the_pseudo_box_alone():
    truth = truth_of((1, "dog", (0, 0, 100, 100), 1))
    outcome = pseudo_label_accuracy({1: labels(("dog", (10, 10, 20, 20)))}, truth=truth, base=["dog"], target=[])
    assert outcome.judged[0].iou == pytest.approx(1.0)


def test_nothing_labelled_has_no_accuracy_and_a_foreign_image_is_refused():
    outcome = pseudo_label_accuracy({1: labels()}, truth=truth_of(), base=["dog"], target=["cat"])
    assert outcome.by_group["base"].accuracy is None
    with pytest.raises(BaseSetError, match="no image 7"):
        pseudo_label_accuracy({7: labels(("dog", (0, 0, 1, 1)))}, truth=truth_of(), base=["dog"], target=[])
