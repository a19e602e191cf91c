"""The sampled softmax over a large vocabulary: which columns, and that its denominator is right in the mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.learning.losses import cross_modal_loss
from xpm_stream.learning.sampled_words import NegativeSampler, WordColumns
from xpm_stream.vocabulary import Vocabulary

SIZE = 400
WANTED, PRESENT = torch.tensor([7, 3, 7]), torch.tensor([11, 3])


@pytest.fixture
def vocabulary() -> Vocabulary:
    """400 words; word i was seen 400 / (i + 1) times."""
    words = Vocabulary()
    for index in range(SIZE):
        words.add([f"word {index}"] * max(1, SIZE // (index + 1)))
    return words


def _draw(vocabulary: Vocabulary, number: int, seed: int = 0) -> WordColumns:
    torch.manual_seed(seed)
    columns = NegativeSampler(number).draw(vocabulary, WANTED, present=PRESENT)
    assert columns is not None
    return columns


def test_a_small_vocabulary_is_taken_whole(vocabulary: Vocabulary) -> None:
    assert NegativeSampler(0).draw(vocabulary, WANTED, present=PRESENT) is None
    assert NegativeSampler(SIZE).draw(vocabulary, WANTED, present=PRESENT) is None
    assert NegativeSampler(SIZE - 3).draw(vocabulary, WANTED, present=PRESENT) is None
    assert NegativeSampler(SIZE - 4).draw(vocabulary, WANTED, present=PRESENT) is not None


def test_all_words_of_the_batch_are_columns_once_and_the_wanted_ones_are_found(vocabulary: Vocabulary) -> None:
    columns = _draw(vocabulary, 50)
    assert columns.rows[:3].tolist() == [3, 7, 11]
    assert columns.rows[columns.word_columns].tolist() == WANTED.tolist()
    assert columns.log_multiplicity[:4].tolist() == [
        0,
        0,
        0,
        0,
    ]  # background and the batch's words stand for themselves
    assert len(columns.rows) == 53
    assert len(columns.log_multiplicity) == 54


def test_a_draw_that_hits_a_word_of_the_batch_counts_for_nothing(vocabulary: Vocabulary) -> None:
    columns = _draw(vocabulary, 300)
    hit = torch.isin(columns.rows[3:], torch.tensor([3, 7, 11]))
    assert hit.any()
    assert (columns.log_multiplicity[4:][hit] == -torch.inf).all()
    assert columns.log_multiplicity[4:][~hit].isfinite().all()


def test_negatives_come_in_proportion_to_count_to_the_power_of_three_quarters(vocabulary: Vocabulary) -> None:
    drawn = torch.cat([_draw(vocabulary, 380, seed).rows[3:] for seed in range(200)]).numpy()
    weights = np.array(vocabulary.counts, dtype=np.float64) ** 0.75
    frequencies = np.bincount(drawn, minlength=SIZE) / len(drawn)
    np.testing.assert_allclose(frequencies[:10], (weights / weights.sum())[:10], rtol=0.1)


def test_the_softmax_denominator_is_right_in_the_mean(vocabulary: Vocabulary) -> None:
    logits = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(5)).double()
    full = torch.cat([torch.zeros(1, 1), logits], dim=1).exp().sum()
    estimates = []
    for seed in range(400):
        columns = _draw(vocabulary, 100, seed)
        sampled = torch.cat([torch.zeros(1, 1), logits[:, columns.rows]], dim=1)
        estimates.append(float(columns.correct(sampled).exp().sum()))
    standard_error = np.std(estimates) / np.sqrt(len(estimates))
    assert standard_error < 0.02 * float(full)
    assert np.mean(estimates) == pytest.approx(float(full), abs=4 * standard_error)


def test_the_sampled_loss_is_near_the_whole_one_and_so_is_its_gradient(vocabulary: Vocabulary) -> None:
    generator = torch.Generator().manual_seed(9)
    words = torch.randn(SIZE, 16, generator=generator)
    regions = torch.randn(3, 16, generator=generator)

    def loss_and_gradient(columns: WordColumns | None) -> tuple[float, torch.Tensor]:
        some = regions.clone().requires_grad_()
        used = words if columns is None else words[columns.rows]
        logits = torch.nn.functional.pad(some @ used.T * 0.3, (1, 0))
        places = WANTED if columns is None else columns.word_columns
        loss = cross_modal_loss(logits if columns is None else columns.correct(logits), places, background=True)
        loss.backward()
        assert some.grad is not None
        return float(loss.detach()), some.grad

    whole, whole_gradient = loss_and_gradient(None)
    sampled = [loss_and_gradient(_draw(vocabulary, 200, seed)) for seed in range(30)]
    assert np.mean([loss for loss, _ in sampled]) == pytest.approx(whole, rel=0.02)
    mean_gradient = torch.stack([gradient for _, gradient in sampled]).mean(dim=0)
    assert float((mean_gradient - whole_gradient).norm() / whole_gradient.norm()) < 0.1


def test_a_word_that_came_after_the_last_look_at_the_counts_may_be_wanted(vocabulary: Vocabulary) -> None:
    sampler = NegativeSampler(50)
    assert sampler.draw(vocabulary, WANTED, present=PRESENT) is not None
    vocabulary.add(["newcomer"])
    columns = sampler.draw(vocabulary, torch.tensor([SIZE]), present=PRESENT)
    assert columns is not None
    assert columns.rows[columns.word_columns].tolist() == [SIZE]
    assert columns.log_multiplicity[1:].isfinite().any()
