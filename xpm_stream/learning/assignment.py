"""Which region a caption word gets: strategies over the matrix of words and proposals (Eq. 2 and beyond)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import box_iou

AssignmentName = Literal["argmax", "exclusive"]
# scores [W, R] of words at regions, boxes [R, 4] -> int64 [W]: region of each word, or -1 where none is left.
Assignment = Callable[[Tensor, Tensor], Tensor]


def align_words(scores: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """b_o = argmax over regions, every word on its own (Eq. 2): two words may claim one region.

    Args:
        scores: [W, R] of words at regions.
        boxes_xyxy: [R, 4].

    Returns:
        int64 [W]; -1 for every word if there is no region.
    """
    if boxes_xyxy.shape[0] == 0:
        return scores.new_full((scores.shape[0],), -1, dtype=torch.int64)
    return scores.argmax(dim=1)


def align_words_exclusively(scores: Tensor, boxes_xyxy: Tensor, *, block_iou: float = 0.5) -> Tensor:
    """Greedy: the best (word, region) pair first; regions that overlap a taken one above `block_iou` are blocked.

    `scores` must be comparable between words (log softmax over V_C is, a plain logit is not).

    Returns:
        int64 [W]; -1 for words that found every region blocked.
    """
    num_words, num_regions = scores.shape
    assigned = torch.full((num_words,), -1, dtype=torch.int64)
    if num_regions == 0:
        return assigned.to(scores.device)
    blocks = (box_iou(boxes_xyxy, boxes_xyxy) > block_iou).cpu()
    blocks.fill_diagonal_(True)
    free = scores.detach().float().cpu().clone()  # a handful of words: one transfer beats a kernel launch a pair
    for _ in range(num_words):
        best = int(free.argmax())
        word, region = divmod(best, num_regions)
        if free[word, region] == -torch.inf:
            break
        assigned[word] = region
        free[word] = -torch.inf
        free[:, blocks[region]] = -torch.inf
    return assigned.to(scores.device)


def find_assignment(name: AssignmentName, *, block_iou: float) -> Assignment:
    """Return the strategy called `name` in the configuration."""
    if name == "argmax":
        return align_words
    return partial(align_words_exclusively, block_iou=block_iou)
