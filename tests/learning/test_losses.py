"""Eq. 1-7 against independent NumPy, and where gradients go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_stream.errors import TrainingError
from xpm_stream.learning import losses

RNG = np.random.default_rng(7)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _bce(logits: np.ndarray, masks: np.ndarray) -> float:
    p = _sigmoid(logits)
    return float(-(masks * np.log(p) + (1 - masks) * np.log(1 - p)).mean())


def test_eq_1_is_the_dot_product_with_a_zero_background() -> None:
    regions, words = RNG.normal(size=(5, 6)), RNG.normal(size=(4, 6))
    got = losses.class_logits(torch.tensor(regions), torch.tensor(words)).numpy()
    np.testing.assert_allclose(got[:, 1:], regions @ words.T, rtol=1e-5)
    assert (got[:, losses.BACKGROUND] == 0).all()


def test_cosine_logits_are_the_scaled_cosine() -> None:
    regions, words = RNG.normal(size=(5, 6)), RNG.normal(size=(4, 6))
    got = losses.class_logits(torch.tensor(regions), torch.tensor(words), scale=20.0).numpy()
    norms = np.linalg.norm(regions, axis=1)[:, None] * np.linalg.norm(words, axis=1)[None]
    np.testing.assert_allclose(got[:, 1:], 20 * (regions @ words.T) / norms, rtol=1e-4)


def test_logits_stay_float32_under_bf16_autocast() -> None:
    regions, words = torch.randn(5, 64), torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = losses.class_logits(regions.bfloat16().float(), words)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, losses.class_logits(regions.bfloat16().float(), words))


@pytest.mark.parametrize("background", [False, True])
def test_eq_3_is_the_softmax_over_the_caption_vocabulary(background: bool) -> None:
    logits = np.concatenate([np.zeros((3, 1)), RNG.normal(size=(3, 5)) * 4], axis=1)
    words = np.array([4, 0, 2])
    table = _log_softmax(logits)[:, 1:] if background else _log_softmax(logits[:, 1:])
    expected = -np.mean([table[row, word] for row, word in enumerate(words)])
    got = losses.cross_modal_loss(torch.tensor(logits), torch.tensor(words), background=background)
    assert float(got) == pytest.approx(expected, rel=1e-6)


def test_alpha_weighs_each_object_and_low_reliability_lowers_the_loss() -> None:
    logits = np.concatenate([np.zeros((3, 1)), RNG.normal(size=(3, 5)) * 4], axis=1)
    words, alpha = np.array([4, 0, 2]), np.array([1.0, 0.25, 0.5])
    table = _log_softmax(logits[:, 1:])
    expected = -np.mean([a * table[row, word] for row, (word, a) in enumerate(zip(words, alpha, strict=True))])
    got = losses.cross_modal_loss(
        torch.tensor(logits), torch.tensor(words), background=False, weights=torch.tensor(alpha)
    )
    assert float(got) == pytest.approx(expected, rel=1e-6)


def test_eq_4_counts_a_logit_of_zero_as_object() -> None:
    assert losses.binarise_mask(torch.tensor([-0.1, 0.0, 0.1])).tolist() == [False, True, True]


def test_eq_5_is_the_mean_pixel_bce() -> None:
    logits, masks = RNG.normal(size=(3, 4, 4)) * 3, RNG.integers(0, 2, size=(3, 4, 4))
    got = losses.pseudo_mask_loss(torch.tensor(logits), torch.tensor(masks))
    assert float(got) == pytest.approx(_bce(logits, masks), rel=1e-5)


def test_eq_6_adds_noise_of_the_estimated_variance_to_the_logits() -> None:
    shape = (3, 4, 4)
    logits, masks = RNG.normal(size=shape), RNG.integers(0, 2, size=shape)
    log_variance, epsilon = RNG.normal(size=shape), RNG.normal(size=shape)
    expected = _bce(logits + epsilon * np.sqrt(np.exp(log_variance)), masks)
    got = losses.noisy_mask_loss(
        torch.tensor(logits),
        torch.tensor(masks),
        noise_log_variance=torch.tensor(log_variance),
        epsilon=torch.tensor(epsilon),
    )
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_eq_7_is_eta_over_the_mean_variance_and_at_most_one() -> None:
    log_variance = RNG.normal(size=(4, 3, 3))
    noise = np.exp(log_variance).mean(axis=(1, 2))
    got = losses.noise_reliability(losses.mean_noise(torch.tensor(log_variance)), eta=1.0)
    np.testing.assert_allclose(got.numpy(), np.minimum(1.0, 1.0 / noise), rtol=1e-5)


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=20), st.floats(0.001, 10))
@settings(max_examples=50, deadline=None)
def test_alpha_falls_as_noise_rises(noises: list[float], eta: float) -> None:
    alpha = losses.noise_reliability(torch.tensor(sorted(noises)), eta=eta)
    assert (alpha.diff() <= 0).all()
    assert ((alpha > 0) & (alpha <= 1)).all()


def test_the_cross_modal_loss_sends_the_noise_head_no_gradient_and_the_mask_loss_does() -> None:
    log_variance = torch.randn(3, 4, 4, requires_grad=True)
    logits = torch.randn(3, 6, requires_grad=True)
    alpha = losses.noise_reliability(losses.mean_noise(log_variance), eta=0.5)
    losses.cross_modal_loss(logits, torch.tensor([0, 1, 2]), background=True, weights=alpha).backward()
    assert logits.grad is not None
    assert log_variance.grad is None
    losses.noisy_mask_loss(
        torch.randn(3, 4, 4), torch.ones(3, 4, 4), noise_log_variance=log_variance, epsilon=torch.randn(3, 4, 4)
    ).backward()
    assert log_variance.grad is not None
    assert (log_variance.grad != 0).any()


def test_alpha_is_detached_where_it_is_made_and_again_where_it_is_used() -> None:
    noise = torch.tensor([2.0, 4.0], requires_grad=True)
    assert not losses.noise_reliability(noise, eta=1.0).requires_grad
    logits = torch.randn(2, 6, requires_grad=True)
    losses.cross_modal_loss(logits, torch.tensor([0, 1]), background=True, weights=1.0 / noise).backward()
    assert logits.grad is not None
    assert noise.grad is None


def test_no_objects_give_a_zero_that_still_carries_a_gradient_path() -> None:
    logits = torch.randn(0, 6, requires_grad=True)
    loss = losses.cross_modal_loss(logits, torch.zeros(0, dtype=torch.int64), background=True)
    assert float(loss.detach()) == 0.0
    assert loss.requires_grad


def test_a_loss_that_is_not_finite_stops_the_step_and_is_named() -> None:
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    losses.require_finite({"mask": good})
    with pytest.raises(TrainingError, match=r"cross_modal=nan"):
        losses.require_finite({"mask": good, "cross_modal": bad})
