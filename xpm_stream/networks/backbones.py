"""Backbones: a narrow ResNet for CPU, and torchvision's ResNet + FPN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from xpm_stream.config.network_sections import ModelConfig

SIZE_DIVISOR = 32  # deepest stride: padded sizes are multiples of it


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingSource:
    """The feature maps that one kind of RoI is pooled from."""

    maps: tuple[str, ...]
    channels: int
    stride: int | None = None  # of the only map; none: torchvision's pyramid, a level for each size of box


class Backbone(nn.Module):
    """Maps images to named feature maps, float32 whatever the autocast (anchors and RoIs lose pixels in bfloat16)."""

    def __init__(
        self, body: nn.Module, *, anchor_maps: tuple[str, ...], boxes: PoolingSource, masks: PoolingSource
    ) -> None:
        super().__init__()
        self.body = body
        self.anchor_maps = anchor_maps
        self.boxes = boxes
        self.masks = masks
        self.out_channels = boxes.channels

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> maps [B, C, H / stride, W / stride]."""
        return {name: value.float() for name, value in self.body(pixels).items()}


def build_backbone(config: ModelConfig) -> Backbone:
    """Build the backbone `config.backbone` names, initialised from scratch."""
    if config.backbone == "small":
        coarse = PoolingSource(maps=("coarse",), channels=SmallResNet.coarse_channels, stride=8)
        fine = PoolingSource(maps=("fine",), channels=SmallResNet.fine_channels, stride=4)
        return Backbone(SmallResNet(), anchor_maps=coarse.maps, boxes=coarse, masks=fine)
    # With pretrained weights the batch statistics stay as they were pretrained; from scratch they must be learned.
    norm: Any = FrozenBatchNorm2d if config.weights else nn.BatchNorm2d
    body = resnet_fpn_backbone(
        backbone_name=config.backbone, weights=None, norm_layer=norm, trainable_layers=config.trainable_layers
    )
    pyramid = PoolingSource(maps=("0", "1", "2", "3"), channels=body.out_channels)
    return Backbone(body, anchor_maps=(*pyramid.maps, "pool"), boxes=pyramid, masks=pyramid)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C, H / stride, W / stride]."""
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class SmallResNet(nn.Module):
    """A narrow ResNet that learns from scratch on CPU: a stride-8 map for boxes, a thin stride-4 map for masks.

    Masks of small objects need finer cells than words do; a few channels are enough for them.
    """

    coarse_channels = 96
    fine_channels = 48

    def __init__(self, *, widths: tuple[int, int, int, int] = (32, 40, 80, 160)) -> None:
        super().__init__()
        stem, quarter, eighth, sixteenth = widths
        coarse, fine = self.coarse_channels, self.fine_channels
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(stem))
        self.quarter = _stage(stem, quarter, blocks=1)
        self.eighth = _stage(quarter, eighth, blocks=2)
        self.sixteenth = _stage(eighth, sixteenth, blocks=2)
        self.lateral_eighth = nn.Conv2d(eighth, coarse, 1)
        self.lateral_sixteenth = nn.Conv2d(sixteenth, coarse, 1)
        self.merge = nn.Sequential(nn.Conv2d(coarse, coarse, 3, padding=1, bias=False), nn.BatchNorm2d(coarse))
        self.lateral_quarter = nn.Conv2d(quarter, fine, 1, bias=False)
        self.lateral_coarse = nn.Conv2d(coarse, fine, 1, bias=False)
        self.fine_norm = nn.BatchNorm2d(fine)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> {"coarse": [B, 96, H / 8, W / 8], "fine": [B, 48, H / 4, W / 4]}."""
        quarter = self.quarter(functional.relu(self.stem(pixels), inplace=True))
        eighth = self.eighth(quarter)
        deep = self.lateral_sixteenth(self.sixteenth(eighth))
        coarse = functional.relu(self.merge(_upsampled(deep, onto=self.lateral_eighth(eighth))), inplace=True)
        fine = _upsampled(self.lateral_coarse(coarse), onto=self.lateral_quarter(quarter))
        return {"coarse": coarse, "fine": functional.relu(self.fine_norm(fine), inplace=True)}


def _upsampled(deep: Tensor, *, onto: Tensor) -> Tensor:
    return onto + functional.interpolate(deep, size=onto.shape[-2:], mode="nearest")


def _stage(in_channels: int, channels: int, *, blocks: int) -> nn.Sequential:
    layers = [ResidualBlock(in_channels, channels, stride=2)]
    layers += [ResidualBlock(channels, channels, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)


def body_of_resnet(backbone: Backbone) -> nn.Module:
    """Return the part that torchvision's classification weights fit (a ResNet without its classifier)."""
    body: nn.Module = backbone.body.body  # type: ignore[assignment]  # BackboneWithFPN keeps the ResNet there
    assert not isinstance(backbone.body, SmallResNet)
    return body


def padded_size(sizes_hw: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the smallest common size that holds all images and divides by every stride."""
    largest = torch.tensor(sizes_hw).amax(dim=0)
    height, width = ((largest + SIZE_DIVISOR - 1) // SIZE_DIVISOR * SIZE_DIVISOR).tolist()
    return int(height), int(width)
