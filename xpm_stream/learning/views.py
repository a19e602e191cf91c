"""Views: resize, mirror, normalise; boxes and masks follow exactly. Runs on the CPU, in a loader thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

# ImageNet statistics of RGB in 0..1, which torchvision's weights expect.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

Pixels = npt.NDArray[np.uint8]  # H x W x 3, RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewGeometry:
    """How stored pixels become pixels of a view: scaled to a size, then perhaps mirrored."""

    stored_hw: tuple[int, int]
    view_hw: tuple[int, int]
    mirrored: bool = False

    def boxes_to_view(self, boxes_xyxy: Tensor) -> Tensor:
        """Map boxes [N, 4] of the stored image into the view; each keeps at least one pixel of width and height."""
        height, width = self.view_hw
        boxes = boxes_xyxy.to(torch.float32) * self._scale_xyxy()
        if self.mirrored:
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        limits = boxes.new_tensor([width, height])
        low = torch.minimum(boxes[:, :2].clamp(min=0), (limits - 1).clamp(min=0))
        high = torch.minimum(torch.maximum(boxes[:, 2:], low + 1), limits)
        return torch.cat([low, high], dim=1)

    def boxes_to_stored(self, boxes_xyxy: Tensor) -> Tensor:
        """Map boxes [N, 4] of the view back into the stored image."""
        boxes = boxes_xyxy
        if self.mirrored:
            width = self.view_hw[1]
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        return boxes / self._scale_xyxy().to(boxes.device)

    def grids_to_view(self, grids: Tensor) -> Tensor:
        """Map RoI-grid masks [N, g, g]: they live on their boxes, so only mirroring changes them, exactly."""
        return grids.flip(2) if self.mirrored else grids

    def masks_to_view(self, masks: npt.NDArray[np.uint8]) -> Tensor:
        """Resize and mirror image masks [N, H, W] of 0 and 1: uint8 [N, h, w]."""
        view = torch.from_numpy(np.ascontiguousarray(masks))
        if self.view_hw != self.stored_hw and len(view):
            resized = functional.interpolate(view[:, None].float(), size=self.view_hw, mode="bilinear", antialias=False)
            view = (resized[:, 0] >= 0.5).to(torch.uint8)
        elif self.view_hw != self.stored_hw:
            view = view.new_zeros((0, *self.view_hw))
        return view.flip(2) if self.mirrored else view

    def _scale_xyxy(self) -> Tensor:
        x = self.view_hw[1] / self.stored_hw[1]
        y = self.view_hw[0] / self.stored_hw[0]
        return torch.tensor([x, y, x, y], dtype=torch.float32)


def plan_view(stored_hw: tuple[int, int], *, short_side: int, long_side: int, mirrored: bool = False) -> ViewGeometry:
    """Scale the short side to `short_side` pixels unless the long side would pass `long_side`; keep the aspect."""
    scale = min(short_side / min(stored_hw), long_side / max(stored_hw))
    height, width = (max(1, round(side * scale)) for side in stored_hw)
    return ViewGeometry(stored_hw=stored_hw, view_hw=(height, width), mirrored=mirrored)


def view_pixels(pixels: Pixels, geometry: ViewGeometry) -> Tensor:
    """Resize, mirror and normalise: float32 [3, h, w]."""
    if geometry.view_hw != geometry.stored_hw:
        height, width = geometry.view_hw
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    if geometry.mirrored:
        pixels = pixels[:, ::-1]
    view = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float()
    mean = torch.tensor(PIXEL_MEAN)[:, None, None] * 255.0
    std = torch.tensor(PIXEL_STD)[:, None, None] * 255.0
    return (view - mean) / std


def pad_together(views: Sequence[Tensor], *, size_hw: tuple[int, int]) -> Tensor:
    """Stack views [3, h, w] into [B, 3, H, W], zero (the mean colour) at the right and bottom; channels-last."""
    batch = torch.zeros((len(views), 3, *size_hw)).contiguous(memory_format=torch.channels_last)
    for row, view in zip(batch, views, strict=True):
        row[:, : view.shape[1], : view.shape[2]] = view
    return batch
