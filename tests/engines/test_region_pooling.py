"""Our pooling of one map is torchvision's RoIAlign, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from xpm_stream.networks.region_pooling import SingleMapRoIAlign, align_on_one_map


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3]), st.sampled_from([2, 7, 14]))
@settings(max_examples=25, deadline=None)
def test_it_equals_roi_align_also_for_boxes_that_leave_the_map(seed: int, sampling_ratio: int, grid: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    feature = torch.randn(3, 5, 9, 13, generator=generator, requires_grad=True)
    boxes = torch.rand(12, 4, generator=generator) * 24 - 8
    boxes[:, 2:] = boxes[:, :2] + torch.rand(12, 2, generator=generator) * 14
    images = torch.randint(0, 3, (12,), generator=generator)
    rois = torch.cat([images[:, None].float(), boxes], dim=1)
    expected = roi_align(feature, rois, grid, 1.0, sampling_ratio, aligned=True)
    got = align_on_one_map(feature, boxes, images, grid=grid, sampling_ratio=sampling_ratio)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    weights = torch.randn(expected.shape, generator=generator)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), feature)
    (gradient,) = torch.autograd.grad((got * weights).sum(), feature)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-3, rtol=1e-3)


def test_images_without_boxes_and_batches_without_any_are_pooled_too() -> None:
    pool = SingleMapRoIAlign("0", stride=8, grid=7, sampling_ratio=1)
    maps = {"0": torch.randn(3, 5, 4, 4, requires_grad=True)}
    box = torch.tensor([[0.0, 0, 20, 20]])
    none = torch.zeros(0, 4)
    assert pool(maps, [none, box, none], []).shape == (1, 5, 7, 7)
    empty = pool(maps, [none, none, none], [])
    assert empty.shape == (0, 5, 7, 7)
    empty.sum().backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cpu_and_cuda_pool_the_same() -> None:
    pool = SingleMapRoIAlign("0", stride=8, grid=7, sampling_ratio=2)
    feature, boxes = torch.randn(2, 5, 9, 9), torch.tensor([[3.0, 4, 60, 50]])
    on_cpu = pool({"0": feature}, [boxes, boxes], [])
    on_cuda = pool({"0": feature.cuda()}, [boxes.cuda(), boxes.cuda()], [])
    torch.testing.assert_close(on_cuda.cpu(), on_cpu, atol=1e-4, rtol=1e-4)
