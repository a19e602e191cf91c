"""Word-region grounding against independent NumPy, hand-worked cases, and where gradients go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xpm_stream.learning.grounding import (
    Alone,
    equal_pairs,
    image_caption_scores,
    match,
    matching_loss,
    word_region_scores,
)

RNG = np.random.default_rng(5)
IMAGES = [RNG.normal(size=(count, 6)) for count in (4, 1, 3)]
CAPTIONS = [RNG.normal(size=(count, 6)) for count in (2, 3, 1)]


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _tensors(arrays: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def _expected(cosine_scale: float | None) -> tuple[np.ndarray, np.ndarray]:
    to_regions, to_words = np.zeros((3, 3)), np.zeros((3, 3))
    for i, regions in enumerate(IMAGES):
        for j, words in enumerate(CAPTIONS):
            s = words @ regions.T / 10 if cosine_scale is None else cosine_scale * _unit(words) @ _unit(regions).T
            to_regions[i, j] = (_softmax(s, 1) * s).sum(axis=1).mean()
            to_words[i, j] = (_softmax(s, 0) * s).sum(axis=0).mean()
    return to_regions, to_words


@pytest.mark.parametrize("cosine_scale", [None, 20.0])
def test_scores_of_images_and_captions_of_unlike_lengths_are_those_of_each_pair_alone(
    cosine_scale: float | None,
) -> None:
    got = image_caption_scores(_tensors(IMAGES), _tensors(CAPTIONS), cosine_scale=cosine_scale)
    for ours, theirs in zip(got, _expected(cosine_scale), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-5)


def test_a_score_by_hand() -> None:
    word, regions = torch.tensor([[10.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert word_region_scores(word, regions, cosine_scale=None).tolist() == [[1.0], [0.0]]
    to_regions, to_words = image_caption_scores([regions], [word], cosine_scale=None)
    assert float(to_regions) == pytest.approx(math.e / (math.e + 1))  # softmax of (1, 0), times (1, 0)
    assert float(to_words) == pytest.approx(0.5)  # each region has one word only: the mean of 1 and 0


def test_the_four_terms_are_cross_entropies_over_rows_and_columns() -> None:
    matching = match(
        _tensors(IMAGES),
        _tensors(CAPTIONS),
        excluded=torch.zeros(3, 3, dtype=torch.bool),
        cosine_scale=None,
        company=Alone(),
    )
    expected = _expected(None)
    for name, matrix in zip(("words_to_regions", "regions_to_words"), expected, strict=True):
        choose_caption = -np.log(np.diag(_softmax(matrix, 1))).mean()
        choose_image = -np.log(np.diag(_softmax(matrix, 0))).mean()
        assert float(matching.losses[f"{name}_choose_caption"]) == pytest.approx(choose_caption, rel=1e-4)
        assert float(matching.losses[f"{name}_choose_image"]) == pytest.approx(choose_image, rel=1e-4)
    own = np.arange(3)
    assert matching.caption_accuracy == pytest.approx((expected[0].argmax(1) == own).mean())
    assert matching.image_accuracy == pytest.approx((expected[0].argmax(0) == own).mean())
    assert matching.chance == pytest.approx(1 / 3)


def test_equal_captions_and_equal_images_are_no_negatives_of_one_another() -> None:
    equal = equal_pairs([["dog", "cup"], ["cup", "dog"], ["car"], ["kite"]], ["a", "b", "c", "c"])
    assert torch.nonzero(equal).tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]
    scores = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    excluded = torch.zeros(3, 3, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 0] = True
    choose_caption, choose_image = matching_loss(scores, excluded)
    row = -math.log(math.e / (math.e + 1))  # of itself (1) and the third (0) only
    last = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(choose_caption) == pytest.approx((2 * row + last) / 3)
    assert float(choose_image) == pytest.approx((2 * row + last) / 3)


def test_gradients_pull_a_region_towards_its_own_words_and_away_from_others() -> None:
    regions = [torch.full((1, 2), 0.5, requires_grad=True), torch.full((1, 2), 0.5, requires_grad=True)]
    words = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    excluded = torch.zeros(2, 2, dtype=torch.bool)
    matching = match(regions, words, excluded=excluded, cosine_scale=None, company=Alone())
    torch.stack(list(matching.losses.values())).sum().backward()
    assert regions[0].grad is not None
    assert regions[0].grad[0, 0] < 0 < regions[0].grad[0, 1]
