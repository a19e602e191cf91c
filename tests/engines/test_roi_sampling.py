"""Which RoIs are trained on, and what they should become."""

from __future__ import annotations

import torch

from xpm_stream.engines.base import GroundTruth
from xpm_stream.engines.roi_sampling import RoiSampler


def _truth(boxes: list[list[float]], classes: list[int], size: int = 64) -> GroundTruth:
    masks = torch.zeros(len(boxes), size, size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 1
    return GroundTruth(
        boxes_xyxy=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        class_indices=torch.tensor(classes, dtype=torch.int64),
        masks=masks,
    )


def test_overlap_decides_the_class_and_ground_truth_joins_the_proposals() -> None:
    sampler = RoiSampler(rois_per_image=16, mask_grid=28)
    truth = _truth([[0, 0, 20, 20], [30, 30, 60, 60]], [4, 1])
    proposals = torch.tensor([[0.0, 0, 20, 18], [31, 30, 60, 60], [0, 40, 10, 60]])
    rois = sampler.sample([proposals], [truth])
    assert sorted(rois.labels.tolist()) == [0, 2, 2, 5, 5]
    by_box = {tuple(box): label for box, label in zip(rois.boxes_xyxy[0].tolist(), rois.labels.tolist(), strict=True)}
    assert by_box[(0.0, 40.0, 10.0, 60.0)] == 0
    assert by_box[(0.0, 0.0, 20.0, 18.0)] == 5


def test_the_regression_target_leads_from_the_proposal_to_the_object() -> None:
    sampler = RoiSampler(rois_per_image=16, mask_grid=28)
    truth = _truth([[0, 0, 20, 20]], [0])
    rois = sampler.sample([torch.tensor([[2.0, 1, 20, 18]])], [truth])
    back = sampler.box_coder.decode_single(rois.box_deltas, rois.positive_boxes_xyxy[0])
    torch.testing.assert_close(back, truth.boxes_xyxy.expand(2, 4), atol=1e-3, rtol=1e-3)


def test_the_mask_target_is_the_object_seen_through_the_box() -> None:
    sampler = RoiSampler(rois_per_image=16, mask_grid=28)
    truth = _truth([[0, 0, 40, 40]], [0])
    truth.masks[0, :, 20:] = 0  # only the left half of the box is object
    rois = sampler.sample([torch.zeros(0, 4)], [truth])
    (mask,) = rois.masks
    assert mask[:, :13].min() > 0.9
    assert mask[:, 15:].max() < 0.1


def test_an_image_without_instances_gives_background_only() -> None:
    sampler = RoiSampler(rois_per_image=8, mask_grid=28)
    proposals = torch.rand(20, 4) * 20
    proposals[:, 2:] += 30
    rois = sampler.sample([proposals], [_truth([], [])])
    assert rois.labels.tolist() == [0] * 8
    assert rois.masks.shape == (0, 28, 28)
    assert rois.box_deltas.shape == (0, 4)


def test_at_most_a_quarter_of_the_rois_are_positive() -> None:
    sampler = RoiSampler(rois_per_image=16, mask_grid=28)
    truth = _truth([[0, 0, 20, 20]], [0])
    near = torch.tensor([[0.0, 0, 20, 20]]).repeat(30, 1)
    far = torch.tensor([[40.0, 40, 60, 60]]).repeat(30, 1)
    rois = sampler.sample([torch.cat([near, far])], [truth])
    assert len(rois.positives) == 4
    assert rois.labels.numel() == 16
