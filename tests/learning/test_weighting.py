"""Table 3's rows: what weighs L_X, which mask loss is taken, and that no weight learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.learning.confidence import DropoutPasses
from xpm_stream.learning.weighting import (
    WEIGHTINGS,
    StudentEvidence,
    find_weighting,
    noise_of_images,
    weigh_words,
)

EMBEDDINGS = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
WORDS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
MASKS = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(2)).requires_grad_()
NOISE = torch.tensor([0.02, 0.5, 4.0], requires_grad=True)


def _classify(embeddings: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(embeddings @ WORDS.T, (1, 0))


def _evidence(*, eta: float | None = 0.1, limit_alpha: bool = True) -> StudentEvidence:
    return StudentEvidence(
        logits=_classify(EMBEDDINGS),
        word_columns=torch.tensor([3, 0, 1]),
        embeddings=EMBEDDINGS,
        classify=_classify,
        log_multiplicity=None,
        mask_logits=MASKS,
        noise=NOISE,
        eta=eta,
        limit_alpha=limit_alpha,
        dropout=DropoutPasses(number=8, rate=0.3),
        reliability=torch.tensor([0.9, 0.2, 0.0]),
        usual_reliability=torch.tensor([0.9, 0.05, 0.4]),
    )


def test_the_table_is_that_of_the_paper_and_three_by_the_labels_own_reliability() -> None:
    noisy = {name: weighting.noise_in_mask_loss for name, weighting in WEIGHTINGS.items()}
    weighed = {name: weighting.weigh is not None for name, weighting in WEIGHTINGS.items()}
    assert noisy == {
        "none": False,
        "stochastic": True,
        "class_score": False,
        "pixel_score": False,
        "dropout_entropy": False,
        "robust": True,
        "label": True,
        "label_within_word": True,
        "label_annealed": True,
    }
    assert weighed == {
        "none": False,
        "stochastic": False,
        "class_score": True,
        "pixel_score": True,
        "dropout_entropy": True,
        "robust": True,
        "label": True,
        "label_within_word": True,
        "label_annealed": True,
    }


@pytest.mark.parametrize("name", list(WEIGHTINGS))
def test_no_weight_carries_a_gradient_and_each_lies_within_its_limits(name: str) -> None:
    weights = weigh_words(find_weighting(name), _evidence())  # type: ignore[arg-type]
    if name in ("none", "stochastic"):
        assert weights is None
        return
    assert weights is not None
    assert weights.shape == (3,)
    assert not weights.requires_grad
    assert ((weights >= 0) & (weights <= (2 if name == "label_within_word" else 1))).all()


def test_class_score_and_pixel_score_are_what_the_student_says() -> None:
    logits = _classify(EMBEDDINGS).detach().numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    pixels = np.abs(2 / (1 + np.exp(-MASKS.detach().numpy())) - 1).mean(axis=(1, 2))
    expected = {"class_score": probabilities[[0, 1, 2], [4, 1, 2]], "pixel_score": pixels}
    for name, values in expected.items():
        weights = weigh_words(find_weighting(name), _evidence())  # type: ignore[arg-type]
        assert weights is not None
        np.testing.assert_allclose(weights.numpy(), values, rtol=1e-5)


def test_robust_is_eq_7_and_its_limit_is_a_switch() -> None:
    limited = weigh_words(find_weighting("robust"), _evidence())
    free = weigh_words(find_weighting("robust"), _evidence(limit_alpha=False))
    assert limited is not None
    assert free is not None
    assert limited.tolist() == pytest.approx([1.0, 0.2, 0.025])
    assert free.tolist() == pytest.approx([5.0, 0.2, 0.025])


def test_a_labels_own_reliability_weighs_as_it_is_or_against_what_is_usual_for_its_word() -> None:
    plain = weigh_words(find_weighting("label"), _evidence())
    within = weigh_words(find_weighting("label_within_word"), _evidence())
    assert plain is not None
    assert within is not None
    assert plain.tolist() == pytest.approx([0.9, 0.2, 0.0])
    # A usual label of a word weighs 1 however low its reliability; four times the usual is cut to twice.
    assert within.tolist() == pytest.approx([1.0, 2.0, 0.0])


def test_annealed_a_label_is_distrusted_only_as_far_as_its_word_is_usually_trusted() -> None:
    weights = weigh_words(find_weighting("label_annealed"), _evidence())
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.91, 0.96, 0.6])


def test_before_any_noise_was_seen_all_words_weigh_the_same() -> None:
    weights = weigh_words(find_weighting("robust"), _evidence(eta=None))
    assert weights is not None
    assert weights.tolist() == [1.0, 1.0, 1.0]


def test_the_noise_of_an_image_is_the_mean_over_its_objects() -> None:
    noise = torch.tensor([1.0, 3.0, 10.0])
    assert noise_of_images(noise, [2, 0, 1]).tolist() == [2.0, 2.0, 10.0]
    assert noise_of_images(noise[:0], [0, 0]).tolist() == []
    assert noise_of_images(noise[:0], []).tolist() == []
