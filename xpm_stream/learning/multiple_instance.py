"""Multiple-instance detection from image-level labels, with online instance refinement (Cap2Det, Ye et al., ICCV 2019).

The two streams are WSDDN's (Bilen and Vedaldi, CVPR 2016): which class a proposal is, and which proposal shows a class.
The refinement is OICR's (Tang et al., CVPR 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from xpm_stream.learning.region_matching import UNMATCHED, match_regions


def two_stream_scores(logits: Tensor) -> Tensor:
    """Softmax over classes times softmax over proposals: [R, C] from class logits [R, C] of one image, no background.

    Summed over proposals they are the image's class scores, each between 0 and 1.
    """
    logits = logits.float()
    return logits.softmax(dim=1) * logits.softmax(dim=0)


def image_label_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of an image's class scores against its labels, summed over classes.

    Args:
        scores: [R, C] of `two_stream_scores`.
        labels: [C] of 0 and 1.
    """
    # Written out: torch refuses its own on probabilities under autocast.
    image_scores = scores.float().sum(dim=0).clamp(1e-6, 1 - 1e-6)
    return -torch.where(labels > 0, image_scores.log(), (1 - image_scores).log()).sum()


def refinement_targets(
    scores: Tensor, labels: Tensor, boxes_xyxy: Tensor, *, min_iou: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Pseudo truth of one image: around each labelled class's best proposal that class, elsewhere background.

    Args:
        scores: [R, C] of `two_stream_scores`, R at least 1.
        labels: [C] of 0 and 1, at least one of them 1.
        boxes_xyxy: [R, 4].
        min_iou: a proposal that overlaps a best one this much shares its class.

    Returns:
        int64 [R], 0 for background and 1 + class; and the weight of each, the score of the best proposal nearest to it.
    """
    present = torch.nonzero(labels)[:, 0]
    best_scores, seeds = scores.detach()[:, present].max(dim=0)
    # Of two classes with one best proposal the surer one comes first, and a tie of overlaps goes to the first.
    order = best_scores.argsort(descending=True, stable=True)
    present, seeds, best_scores = present[order], seeds[order], best_scores[order]
    nearest = match_regions(boxes_xyxy, boxes_xyxy[seeds], min_iou=0.0)
    near = match_regions(boxes_xyxy, boxes_xyxy[seeds], min_iou=min_iou) != UNMATCHED
    return torch.where(near, present[nearest] + 1, 0), best_scores[nearest]


def refinement_loss(logits: Tensor, targets: Tensor, weights: Tensor, *, background_weight: float = 1.0) -> Tensor:
    """Mean over proposals of weighted cross-entropy.

    Args:
        logits: [R, 1 + C], background first.
        targets: int64 [R] of `refinement_targets`.
        weights: [R] of `refinement_targets`.
        background_weight: a further factor of proposals that are background.
    """
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    weights = torch.where(targets == 0, background_weight * weights, weights)
    return (losses * weights).sum() / max(len(targets), 1)
