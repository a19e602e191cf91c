"""What reliability and loss weights are made of, against independent NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xpm_stream.learning.confidence import (
    DropoutPasses,
    class_evidence,
    class_score,
    evidence_as_probability,
    log_normaliser,
    pixel_score,
)

RNG = np.random.default_rng(11)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _logits(regions: int, words: int) -> np.ndarray:
    return np.concatenate([np.zeros((regions, 1)), RNG.normal(size=(regions, words)) * 2], axis=1)


def test_class_score_is_the_probability_of_the_word_beside_background() -> None:
    logits = _logits(2, 3)
    expected = np.exp(_log_softmax(logits))[[0, 1], [2, 3]]
    got = class_score(torch.tensor(logits), torch.tensor([1, 2]))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


def test_pixel_score_is_low_for_undecided_masks() -> None:
    sure, undecided = torch.full((1, 4, 4), 8.0), torch.zeros(1, 4, 4)
    assert pixel_score(torch.cat([sure, -sure, undecided])).tolist() == pytest.approx([1, 1, 0], abs=1e-3)


def test_class_evidence_is_read_over_the_vocabulary_the_caption_or_as_the_logit() -> None:
    logits = _logits(3, 5)
    words = np.array([4, 0, 2])  # two words of the first image, none of the second, one of the third
    captions = [(2, torch.tensor([0, 4, 3])), (0, torch.tensor([], dtype=torch.int64)), (1, torch.tensor([2]))]
    whole = _log_softmax(logits)[[0, 1, 2], words + 1]
    first, third = _log_softmax(logits[:2, [0, 1, 5, 4]]), _log_softmax(logits[2:, [0, 3]])
    expected = {
        "vocabulary": whole,
        "caption": np.array([first[0, 2], first[1, 1], third[0, 1]]),
        "logit": logits[[0, 1, 2], words + 1],
    }
    for name, values in expected.items():
        got = class_evidence(name, torch.tensor(logits), torch.tensor(words), caption_words=captions)  # type: ignore[arg-type]
        np.testing.assert_allclose(got.numpy(), values, rtol=1e-6)
        as_probability = evidence_as_probability(name, got).numpy()  # type: ignore[arg-type]
        wanted = 1 / (1 + np.exp(-values)) if name == "logit" else np.exp(values)
        np.testing.assert_allclose(as_probability, wanted, rtol=1e-6)


def test_a_certain_class_scores_one_and_an_even_choice_zero() -> None:
    passes = DropoutPasses(number=4, rate=0.5)
    certain, even = torch.tensor([[40.0, 0.0, 0.0]]), torch.zeros(1, 3)
    for logits, expected in ((certain, 1.0), (even, 0.0)):
        got = passes.certainty(torch.ones(1, 8), lambda _, fixed=logits: fixed)
        assert got.tolist() == pytest.approx([expected], abs=1e-5)


def test_dropout_entropy_is_that_of_the_mean_over_passes() -> None:
    """Two passes, each sure of another class: every pass has no entropy, their mean has log 2."""
    answers = iter([torch.tensor([[60.0, 0.0, 0.0]]), torch.tensor([[0.0, 60.0, 0.0]])])
    got = DropoutPasses(number=2, rate=0.5).certainty(torch.ones(1, 8), lambda _: next(answers))
    assert float(got) == pytest.approx(1 - np.log(2) / np.log(3), abs=1e-5)


def test_each_pass_drops_other_dimensions_of_the_embedding() -> None:
    seen: list[Tensor] = []

    def classify(embeddings: Tensor) -> Tensor:
        seen.append(embeddings)
        return torch.zeros(2, 3)

    torch.manual_seed(0)
    DropoutPasses(number=3, rate=0.4).certainty(torch.ones(2, 4000), classify)
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])
    for embeddings in seen:
        assert float((embeddings == 0).float().mean()) == pytest.approx(0.4, abs=0.05)
        assert float(embeddings.mean()) == pytest.approx(1.0, abs=0.05)


def test_a_column_that_stands_for_many_words_counts_as_many_in_the_entropy() -> None:
    """Three words of equal logit, or two columns of which one stands for two such words: the same entropy."""
    passes = DropoutPasses(number=1, rate=0.5)
    whole = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    multiplicity = torch.tensor([1.0, 1.0, 2.0]).log()
    sampled = torch.tensor([[0.0, 1.0, 1.0]]) + multiplicity
    expected = passes.certainty(torch.ones(1, 8), lambda _: whole)
    got = passes.certainty(torch.ones(1, 8), lambda _: sampled, log_multiplicity=multiplicity)
    assert float(got) == pytest.approx(float(expected), abs=1e-6)
    struck_out = torch.cat([multiplicity, torch.tensor([-torch.inf])])
    padded = torch.cat([sampled, torch.tensor([[-torch.inf]])], dim=1)
    again = passes.certainty(torch.ones(1, 8), lambda _: padded, log_multiplicity=struck_out)
    assert float(again) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("chunk", [3, 10, 4096])
def test_the_softmax_denominator_in_pieces_is_that_of_the_whole_background_once(chunk: int) -> None:
    regions, words = RNG.normal(size=(4, 6)), RNG.normal(size=(10, 6))

    def logits(some: Tensor, table: Tensor) -> Tensor:
        return torch.nn.functional.pad(some @ table.T, (1, 0))

    got = log_normaliser(torch.tensor(regions), torch.tensor(words), logits=logits, chunk=chunk)
    expected = np.log(1 + np.exp(regions @ words.T).sum(axis=1))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10)
