from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpm_stream.errors import DataError
from xpm_stream.masks import (
    MASK_BYTES,
    decode_rle,
    encode_rle,
    flip_mask_bits_horizontally,
    pack_mask_bits,
    paste_roi_mask,
    paste_to_rles,
    rle_area,
    sample_roi_grid,
    segmentation_to_rle,
    unpack_many_mask_bits,
    unpack_mask_bits,
)

GRIDS = hnp.arrays(np.bool_, (28, 28))


@given(GRIDS)
def test_packing_then_unpacking_gives_the_same_grid(grid):
    bits = pack_mask_bits(grid)
    assert len(bits) == 98 == MASK_BYTES
    assert np.array_equal(unpack_mask_bits(bits), grid)


@given(st.binary(min_size=98, max_size=98))
def test_every_98_bytes_are_a_mask(bits):
    assert pack_mask_bits(unpack_mask_bits(bits)) == bits


@given(GRIDS)
def test_flipping_twice_changes_nothing_and_once_mirrors_columns(grid):
    bits = pack_mask_bits(grid)
    assert np.array_equal(unpack_mask_bits(flip_mask_bits_horizontally(bits)), grid[:, ::-1])
    assert flip_mask_bits_horizontally(flip_mask_bits_horizontally(bits)) == bits


def test_bits_are_row_major_and_most_significant_first():
    grid = np.zeros((28, 28), bool)
    grid[0, 0] = grid[0, 9] = grid[1, 0] = True  # flat indices 0, 9 and 28
    bits = pack_mask_bits(grid)
    assert bits[:4] == bytes([0b10000000, 0b01000000, 0, 0b00001000])
    assert not any(bits[4:])


def test_many_masks_unpack_as_one_by_one_and_none_is_fine():
    rng = np.random.default_rng(0)
    many = [rng.bytes(98) for _ in range(5)]
    assert np.array_equal(unpack_many_mask_bits(many), np.stack([unpack_mask_bits(bits) for bits in many]))
    assert unpack_many_mask_bits([]).shape == (0, 28, 28)


@pytest.mark.parametrize("bits", [b"", b"x" * 97, b"x" * 99])
def test_bits_of_another_length_are_refused(bits):
    with pytest.raises(DataError, match="98 bytes"):
        unpack_mask_bits(bits)
    with pytest.raises(DataError, match="98 bytes"):
        unpack_many_mask_bits([b"x" * 98, bits])


def test_probabilities_and_other_shapes_cannot_be_packed():
    with pytest.raises(DataError, match="threshold"):
        pack_mask_bits(np.full((28, 28), 0.7))
    with pytest.raises(DataError, match="28x28, not 14x14"):
        pack_mask_bits(np.zeros((14, 14), bool))


def test_a_full_grid_covers_exactly_its_integer_box():
    mask = paste_roi_mask(np.ones((28, 28)), (3, 2, 13, 7), height=10, width=20)
    expected = np.zeros((10, 20), bool)
    expected[2:7, 3:13] = True
    assert np.array_equal(mask, expected)


def test_a_grid_of_pixel_size_is_copied_cell_by_cell():
    grid = np.random.default_rng(1).random((8, 8)) > 0.5
    mask = paste_roi_mask(grid, (4, 1, 12, 9), height=12, width=16)
    assert np.array_equal(mask[1:9, 4:12], grid)
    assert mask.sum() == grid.sum()


@pytest.mark.parametrize(
    "box", [(-50, -50, -1, -1), (5, 5, 5, 9), (9, 9, 5, 5), (float("nan"), 0, 5, 5), (30, 30, 40, 40)]
)
def test_boxes_without_pixels_paste_nothing(box):
    assert not paste_roi_mask(np.ones((28, 28)), box, height=20, width=20).any()


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (7, 7), elements=st.floats(0, 1, width=32)),
    st.tuples(st.floats(-10, 20), st.floats(-10, 20), st.floats(0.5, 40), st.floats(0.5, 40)),
)
def test_pasting_agrees_with_detectron2s_grid_sampling(grid, corner_and_size):
    torch = pytest.importorskip("torch")
    x, y, w, h = corner_and_size
    box, height, width = (x, y, x + w, y + h), 24, 31
    (rows, columns), values = sample_roi_grid(grid, box, height=height, width=width)
    ys = (torch.arange(height) + 0.5 - y).double() / h * 2 - 1
    xs = (torch.arange(width) + 0.5 - x).double() / w * 2 - 1
    points = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)[None]
    sampled = torch.nn.functional.grid_sample(torch.from_numpy(grid).double()[None, None], points, align_corners=False)
    np.testing.assert_allclose(values, sampled[0, 0].numpy()[rows, columns], atol=2e-5)


def test_extended_edges_keep_a_constant_grid_constant():
    _, values = sample_roi_grid(np.full((4, 4), 0.3), (0.2, 0.2, 19.9, 9.7), height=10, width=20, extend_edges=True)
    np.testing.assert_allclose(values, 0.3, rtol=1e-5)


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_rle_round_trips_and_knows_its_area(mask):
    rle = encode_rle(mask)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(decode_rle(rle), mask)
    assert rle_area(rle) == mask.sum()


def test_pasted_detections_become_one_rle_each_and_none_is_fine():
    grids = np.stack([np.ones((28, 28)), np.zeros((28, 28))])
    rles = paste_to_rles(grids, np.array([[1.0, 1, 4, 5], [1, 1, 4, 5]]), height=8, width=9)
    assert [rle_area(rle) for rle in rles] == [12, 0]
    assert paste_to_rles(np.zeros((0, 28, 28)), np.zeros((0, 4)), height=8, width=9) == []
    with pytest.raises(DataError, match="2 mask grids and 1 boxes"):
        paste_to_rles(grids, np.zeros((1, 4)), height=8, width=9)


def test_every_coco_segmentation_form_becomes_the_same_rle():
    mask = np.zeros((10, 12), bool)
    mask[2:6, 3:9] = True
    polygon = [[3, 2, 9, 2, 9, 6, 3, 6]]
    runs = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel().astype(int), [0]])))
    counts = np.diff(np.concatenate([[0], runs, [mask.size]])).tolist()
    forms = [polygon, {"size": [10, 12], "counts": counts}, encode_rle(mask)]
    for form in forms:
        assert np.array_equal(decode_rle(segmentation_to_rle(form, height=10, width=12)), mask)
    for wrong in ([], {}, None, "x"):
        with pytest.raises(DataError, match="segmentation"):
            segmentation_to_rle(wrong, height=10, width=12)
