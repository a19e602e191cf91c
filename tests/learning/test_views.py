"""Views move pixels, boxes and masks together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_stream.learning.views import PIXEL_MEAN, PIXEL_STD, pad_together, plan_view, view_pixels


def _mask_box(mask: torch.Tensor) -> list[int]:
    ys, xs = torch.nonzero(mask, as_tuple=True)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_box_stays_around_its_object_in_pixels_and_in_masks(mirrored: bool, scale: int) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:20, 30:50] = 255
    masks = (pixels[None, ..., 0] > 0).astype(np.uint8)
    geometry = plan_view((40, 60), short_side=40 * scale, long_side=1000, mirrored=mirrored)
    (box,) = geometry.boxes_to_view(torch.tensor([[30.0, 10, 50, 20]])).tolist()
    mask = geometry.masks_to_view(masks)[0]
    bright = view_pixels(pixels, geometry)[0] > 0
    assert _mask_box(mask) == pytest.approx(box, abs=1)
    assert _mask_box(bright) == pytest.approx(box, abs=1)
    assert box == (
        [10.0 * scale, 10 * scale, 30 * scale, 20 * scale]
        if mirrored
        else [30.0 * scale, 10 * scale, 50 * scale, 20 * scale]
    )


def test_the_roi_grid_only_mirrors() -> None:
    grids = torch.randint(0, 2, (2, 28, 28), dtype=torch.uint8)
    straight = plan_view((40, 60), short_side=80, long_side=1000)
    mirrored = plan_view((40, 60), short_side=80, long_side=1000, mirrored=True)
    assert torch.equal(straight.grids_to_view(grids), grids)
    assert torch.equal(mirrored.grids_to_view(grids), grids.flip(2))


@given(
    st.integers(60, 300),
    st.integers(60, 300),
    st.integers(32, 200),
    st.booleans(),
    st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
)
@settings(max_examples=80, deadline=None)
def test_boxes_come_back_from_the_view(
    height: int, width: int, short: int, mirrored: bool, corner: tuple[float, float]
) -> None:
    geometry = plan_view((height, width), short_side=short, long_side=2 * short, mirrored=mirrored)
    assert min(geometry.view_hw) <= short
    assert max(geometry.view_hw) <= 2 * short
    x, y = corner[0] * width, corner[1] * height
    boxes = torch.tensor([[x, y, x + 0.4 * width, y + 0.4 * height]])
    back = geometry.boxes_to_stored(geometry.boxes_to_view(boxes))
    torch.testing.assert_close(back, boxes, atol=0.05, rtol=1e-3)


def test_a_box_that_shrinks_below_a_pixel_keeps_one_and_stays_inside() -> None:
    geometry = plan_view((100, 100), short_side=10, long_side=10)
    boxes = geometry.boxes_to_view(torch.tensor([[99.5, 99.5, 99.9, 99.9], [0, 0, 0.1, 0.1], [-5, 3, 200, 500]]))
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 10


def test_pixels_are_normalised_and_padding_is_the_mean_colour() -> None:
    pixels = np.full((8, 6, 3), 255, np.uint8)
    view = view_pixels(pixels, plan_view((8, 6), short_side=6, long_side=8))
    expected = [(1 - mean) / std for mean, std in zip(PIXEL_MEAN, PIXEL_STD, strict=True)]
    assert view[:, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    batch = pad_together([view, view[:, :4]], size_hw=(32, 32))
    assert batch.shape == (2, 3, 32, 32)
    assert torch.equal(batch[0, :, :8, :6], view)
    assert float(batch[1, :, 4:].abs().sum()) == 0


def test_an_image_without_instances_keeps_empty_masks_of_the_view() -> None:
    geometry = plan_view((40, 60), short_side=20, long_side=100, mirrored=True)
    assert geometry.masks_to_view(np.zeros((0, 40, 60), np.uint8)).shape == (0, 20, 30)
    assert geometry.boxes_to_view(torch.zeros(0, 4)).shape == (0, 4)
