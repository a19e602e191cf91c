"""Agreement of two sets of labels, by hand-worked cases."""

from __future__ import annotations

import pytest

from xpm_stream.evaluation.agreement import WordBox, label_agreement

LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
NEAR_LEFT = (0.0, 0.0, 10.0, 6.0)  # IoU 0.6 with LEFT
HALF_LEFT = (0.0, 0.0, 10.0, 4.0)  # IoU 0.4


def of(*labels: WordBox) -> list[list[WordBox]]:
    return [list(labels)]


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        (of(("dog", LEFT)), of(("dog", LEFT)), 1.0),
        (of(("dog", LEFT)), of(("dog", NEAR_LEFT)), 1.0),
        (of(("dog", LEFT)), of(("dog", HALF_LEFT)), 0.0),
        (of(("dog", LEFT)), of(("cat", LEFT)), 0.0),
        (of(("dog", LEFT), ("cat", RIGHT)), of(("dog", LEFT)), 2 / 3),
        (of(("dog", LEFT), ("dog", RIGHT)), of(("dog", RIGHT), ("dog", NEAR_LEFT)), 1.0),
        (of(("dog", LEFT), ("dog", NEAR_LEFT)), of(("dog", LEFT)), 2 / 3),
        (of(("dog", LEFT)), of(), 0.0),
    ],
)
def test_the_share_counts_pairs_of_one_word_that_overlap(
    first: list[list[WordBox]], second: list[list[WordBox]], share: float
) -> None:
    assert label_agreement(first, second) == pytest.approx(share)
    assert label_agreement(second, first) == pytest.approx(share)


def test_boxes_are_paired_so_that_most_agree_not_in_their_order() -> None:
    wide = (0.0, 0.0, 10.0, 8.0)  # overlaps both of the others enough
    first = of(("dog", wide), ("dog", LEFT))
    second = of(("dog", LEFT), ("dog", (0.0, 0.0, 10.0, 5.0)))  # the second one only with `wide`
    assert label_agreement(first, second) == 1.0


def test_labels_of_different_images_never_agree() -> None:
    assert label_agreement([[("dog", LEFT)], []], [[], [("dog", LEFT)]]) == 0.0


def test_no_labels_at_all_is_no_figure() -> None:
    assert label_agreement([[], []], [[], []]) is None


def test_the_images_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="zip"):
        label_agreement([[]], [[], []])
