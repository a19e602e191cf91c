"""Class embeddings by name and by a vocabulary's index."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xpm_stream.networks.class_embeddings import ClassEmbeddings, VocabularyEmbeddings
from xpm_stream.vocabulary import Vocabulary

CPU = torch.device("cpu")


class Lengths:
    """A word's vector is its length, three times over; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @property
    def dimension(self) -> int:
        return 3

    def embed(self, words: Sequence[str]) -> Tensor:
        self.asked += words
        return torch.tensor([[float(len(word))] * 3 for word in words])


def test_words_are_embedded_once_each_and_given_in_the_order_asked() -> None:
    embedder = Lengths()
    embeddings = ClassEmbeddings(embedder)
    assert embeddings.of(["dog", "kites", "dog"], device=CPU)[:, 0].tolist() == [3, 5, 3]
    assert embeddings.of(["umbrella", "dog"], device=CPU)[:, 0].tolist() == [8, 3]
    assert embedder.asked == ["dog", "kites", "umbrella"]
    assert embeddings.dimension == 3
    assert embeddings.of([], device=CPU).shape == (0, 3)


def test_a_vocabulary_is_embedded_as_it_grows_far_beyond_the_first_table() -> None:
    embedder = Lengths()
    table, vocabulary = VocabularyEmbeddings(ClassEmbeddings(embedder)), Vocabulary(["dog", "cup"])
    for step in range(40):
        vocabulary.add(["x" * (step * 17 + number + 5) for number in range(17)])
        rows = table.of(vocabulary, device=CPU)
        assert rows[:, 0].tolist() == [float(len(word)) for word in vocabulary.words]
    assert len(embedder.asked) == len(vocabulary) == 682


def test_a_vocabulary_in_another_order_starts_anew_without_embedding_again() -> None:
    embedder = Lengths()
    table = VocabularyEmbeddings(ClassEmbeddings(embedder))
    table.of(Vocabulary(["dog", "kites"]), device=CPU)
    assert table.of(Vocabulary(["kites", "dog"]), device=CPU)[:, 0].tolist() == [5, 3]
    assert embedder.asked == ["dog", "kites"]
    assert table.of(Vocabulary(), device=CPU).shape == (0, 3)


def test_rows_first_asked_for_by_a_labeler_can_be_trained_against() -> None:
    table, vocabulary = VocabularyEmbeddings(ClassEmbeddings(Lengths())), Vocabulary(["dog", "cup"])
    with torch.inference_mode():
        table.of(vocabulary, device=CPU)
    visual = torch.ones(2, 3, requires_grad=True)
    (visual @ table.of(vocabulary, device=CPU).T).sum().backward()
    assert visual.grad is not None


def test_a_word_that_comes_between_a_loss_and_its_gradient_disturbs_neither() -> None:
    embeddings = ClassEmbeddings(Lengths())
    classes = embeddings.of(["dog", "kites"], device=CPU)
    regions = torch.ones((1, 3), requires_grad=True)
    loss = (regions @ classes.T).sum()  # keeps the classes for its gradient
    embeddings.of(["umbrella"], device=CPU)
    loss.backward()
    assert regions.grad is not None
    assert regions.grad.tolist() == [[8.0, 8.0, 8.0]]
