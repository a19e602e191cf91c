"""Word-region grounding of OVR (Zareian et al., CVPR 2021): which caption belongs to which image, without boxes.

S(I, C) is high where every word of C finds a region of I that looks like it (or every region a word). The B x B matrix
of a batch is read as a classification in both directions: the caption of an image, the image of a caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

T = TypeVar("T")
_DOT_TEMPERATURE = 10.0


class Company(Protocol):
    """Who brings further negatives: the ranks of a run. `stages.ranks.Ranks` is one."""

    number: int
    size: int

    def share(self, value: T) -> list[T]:
        """Return every rank's value, by rank."""
        ...


class Alone:
    """One process without others."""

    number = 0
    size = 1

    def share(self, value: T) -> list[T]:
        """Return this one's value."""
        return [value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What grounding says of a step's images and captions, over all ranks."""

    losses: dict[str, Tensor]  # the four unit terms, scalars
    caption_accuracy: float  # share of images whose own caption scores best (words to regions)
    image_accuracy: float  # share of captions whose own image scores best
    chance: float  # what guessing would give
    regions: Sequence[Tensor] = ()  # of each of this rank's images [R, D], with their graph
    excluded: Tensor | None = None  # bool [B, B] over all ranks: pairs that are no true negatives


def word_region_scores(words: Tensor, regions: Tensor, *, cosine_scale: float | None) -> Tensor:
    """s_wr of words [..., W, D] and regions [..., R, D]: [..., R, W], float32; without a scale, e_w . v_r / 10."""
    words, regions = words.float(), regions.float()
    if cosine_scale is None:
        words = words / _DOT_TEMPERATURE
    else:
        words = functional.normalize(words, dim=-1) * cosine_scale
        regions = functional.normalize(regions, dim=-1)
    # Autocast would round scores to bfloat16, coarser than the differences between captions.
    with torch.autocast(words.device.type, enabled=False):
        return regions @ words.transpose(-1, -2)


def image_caption_scores(
    regions: Sequence[Tensor], words: Sequence[Tensor], *, cosine_scale: float | None
) -> tuple[Tensor, Tensor]:
    """S(I, C) of every image and caption: words to regions, and regions to words.

    Words to regions is mean_w sum_r softmax_r(s) s; the other way round it is mean_r sum_w softmax_w(s) s.

    Args:
        regions: for each of I images [R_i, D]; at least one region each.
        words: for each of C captions [W_c, D]; at least one word each.
        cosine_scale: scale of cosine scores; none for the dot product / 10.

    Returns:
        Two [I, C].
    """
    region_counts = torch.tensor([len(part) for part in regions], device=regions[0].device)
    word_counts = torch.tensor([len(part) for part in words], device=region_counts.device)
    padded_regions = pad_sequence(list(regions), batch_first=True)  # [I, R, D]
    padded_words = pad_sequence(list(words), batch_first=True)  # [C, W, D]
    scores = word_region_scores(padded_words[None], padded_regions[:, None], cosine_scale=cosine_scale)  # [I, C, R, W]
    is_region = _is_there(region_counts, scores.shape[2])[:, None, :, None]
    is_word = _is_there(word_counts, scores.shape[3])[None, :, None, :]
    over_regions = (scores.masked_fill(~is_region, float("-inf")).softmax(dim=2) * scores).sum(dim=2)  # [I, C, W]
    over_words = (scores.masked_fill(~is_word, float("-inf")).softmax(dim=3) * scores).sum(dim=3)  # [I, C, R]
    to_regions = (over_regions * is_word[:, :, 0]).sum(dim=2) / word_counts
    to_words = (over_words * is_region[..., 0]).sum(dim=2) / region_counts[:, None]
    return to_regions, to_words


def equal_pairs(captions: Sequence[Sequence[str]], images: Sequence[str]) -> Tensor:
    """Pairs of different rows that are no true negatives: the same set of words, or the same image: bool [C, C]."""
    sets = [frozenset(words) for words in captions]
    equal = torch.tensor(
        [[sets[i] == sets[j] or images[i] == images[j] for j in range(len(sets))] for i in range(len(sets))]
    ).reshape(len(sets), len(sets))
    return equal & ~torch.eye(len(sets), dtype=torch.bool)


def matching_loss(scores: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of choosing the caption of each image (row), and the image of each caption (column).

    Args:
        scores: [B, B], row i and column i belong together.
        excluded: bool [B, B], false on the diagonal: pairs that stay out of the softmax.
    """
    logits = scores.masked_fill(excluded, float("-inf"))
    return -logits.log_softmax(dim=1).diagonal().mean(), -logits.log_softmax(dim=0).diagonal().mean()


def match(
    regions: Sequence[Tensor],
    words: Sequence[Tensor],
    *,
    excluded: Tensor,
    cosine_scale: float | None,
    company: Company,
) -> Matching:
    """Ground this rank's images in all ranks' captions, and all ranks' captions in all ranks' images.

    Each rank scores its own images against all captions, and the rows are shared, not the features: a row needs no
    other rank's network, and text is frozen. So the whole matrix is known everywhere, and the joint loss has this
    rank's gradient in this rank's rows. Averaging gradients over ranks then gives the joint batch's gradient, since the
    gradient (not the value) is multiplied by the number of ranks here.

    Args:
        regions: for each of this rank's images [R, D].
        words: for each caption of all ranks, by rank, [W, D].
        excluded: bool [B, B] over all ranks, see `matching_loss`.
        cosine_scale: see `image_caption_scores`.
        company: the ranks; every one calls this together.
    """
    losses: dict[str, Tensor] = {}
    by_words = []
    names = ("words_to_regions", "regions_to_words")
    for name, rows in zip(names, image_caption_scores(regions, words, cosine_scale=cosine_scale), strict=True):
        matrix = _rows_of_all(rows, company)
        by_words.append(matrix.detach())
        choose_caption, choose_image = matching_loss(matrix, excluded.to(matrix.device))
        losses[f"{name}_choose_caption"] = _for_averaging(choose_caption, company.size)
        losses[f"{name}_choose_image"] = _for_averaging(choose_image, company.size)
    logits = by_words[0].masked_fill(excluded.to(by_words[0].device), float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    return Matching(
        losses=losses,
        caption_accuracy=float((logits.argmax(dim=1) == own).float().mean()),
        image_accuracy=float((logits.argmax(dim=0) == own).float().mean()),
        chance=float((1.0 / (~excluded).sum(dim=1)).mean()),
        regions=regions,
        excluded=excluded,
    )


def _is_there(counts: Tensor, size: int) -> Tensor:
    """Which places of a padded axis are filled: bool [N, size]."""
    return torch.arange(size, device=counts.device)[None, :] < counts[:, None]


def _rows_of_all(rows: Tensor, company: Company) -> Tensor:
    """Stack every rank's rows in the order of ranks; only this rank's carry a graph."""
    if company.size == 1:
        return rows
    parts = [torch.tensor(part, device=rows.device) for part in company.share(rows.detach().cpu().tolist())]
    parts[company.number] = rows
    return torch.cat(parts)


def _for_averaging(loss: Tensor, num_ranks: int) -> Tensor:
    """Keep the value, multiply the gradient: the mean over ranks of such gradients is their sum."""
    return loss.detach() + num_ranks * (loss - loss.detach())
