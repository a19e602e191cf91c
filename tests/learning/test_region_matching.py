"""Which instance a region belongs to, and which detections are kept."""

from __future__ import annotations

import torch

from xpm_stream.learning.detection_selection import select_detections
from xpm_stream.learning.region_matching import UNMATCHED, match_regions

LEFT, RIGHT = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]


def test_a_region_belongs_to_the_instance_it_overlaps_most_from_the_least_overlap_on() -> None:
    half = [0.0, 0.0, 10.0, 5.0]  # IoU with LEFT: exactly 0.5
    less = [0.0, 0.0, 10.0, 4.9]
    regions = torch.tensor([RIGHT, half, less, LEFT, [50.0, 50.0, 60.0, 60.0]])
    instances = torch.tensor([LEFT, RIGHT])
    assert match_regions(regions, instances).tolist() == [1, 0, UNMATCHED, 0, UNMATCHED]
    assert match_regions(regions, instances, min_iou=0.0).tolist() == [1, 0, 0, 0, 0]


def test_without_instances_or_regions_nothing_is_matched() -> None:
    assert match_regions(torch.tensor([LEFT]), torch.zeros(0, 4)).tolist() == [UNMATCHED]
    assert match_regions(torch.zeros(0, 4), torch.tensor([LEFT])).tolist() == []


def test_detections_are_every_class_above_the_threshold_best_first_with_nms_for_each_class_alone() -> None:
    boxes = torch.tensor([LEFT, [0.0, 0.0, 10.0, 9.0], RIGHT])
    scores = torch.tensor([[0.6, 0.3], [0.7, 0.05], [0.05, 0.2]])
    kept, values, classes = select_detections(boxes, scores, score_threshold=0.1, nms_iou=0.5, max_detections=10)
    assert [round(value, 2) for value in values.tolist()] == [0.7, 0.3, 0.2]
    assert classes.tolist() == [0, 1, 1]
    torch.testing.assert_close(kept, boxes[[1, 0, 2]])
    fewer, _, _ = select_detections(boxes, scores, score_threshold=0.1, nms_iou=0.5, max_detections=2)
    torch.testing.assert_close(fewer, kept[:2])
    none, _, _ = select_detections(boxes, scores, score_threshold=0.7, nms_iou=0.5, max_detections=2)
    assert none.shape == (0, 4)
