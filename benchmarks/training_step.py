"""One XPM step against a bare torchvision Mask R-CNN step: same backbone, heads of the same size, as many RoIs.

    python -m benchmarks.training_step

The bare step is torchvision's own MaskRCNN on as many images, all annotated, with its per-image RoI budget set so
that the two steps pool the same number of boxes. It is timed twice: with torchvision's RoIAlign, and with our pooling
put in its place (the small backbone's is faster on CPU), so that neither hides the other. All steps include backward,
clipping and AdamW; none includes loading.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from benchmarks.figures import Figure, Goal, paired_ratios, print_figures
from benchmarks.region_workload import (
    base_images,
    build_method,
    caption_images,
    parse_arguments,
    print_machine,
    time_interleaved,
)
from xpm_stream.learning.views import PIXEL_MEAN, PIXEL_STD
from xpm_stream.methods.base import LabelledImage
from xpm_stream.methods.region_batch import RegionBatch
from xpm_stream.methods.xpm import Xpm
from xpm_stream.stages.devices import autocast, choose_device


class BoxHead(nn.Module):
    """The two hidden layers of our embedding head, as torchvision's RoIHeads wants them."""

    def __init__(self, method: Xpm) -> None:
        super().__init__()
        head = copy.deepcopy(method._engine.network.embedding_head)
        self.layers = nn.Sequential(nn.Flatten(), head.hidden1, nn.ReLU(), head.hidden2, nn.ReLU())

    def forward(self, pooled: Tensor) -> Tensor:
        hidden: Tensor = self.layers(pooled)
        return hidden


class AnchorMapsOnly(nn.Module):
    """Torchvision lays anchors on every map; our small backbone has one more, for masks."""

    def __init__(self, rpn: nn.Module, *, maps: tuple[str, ...]) -> None:
        super().__init__()
        self.rpn = rpn
        self.maps = maps

    def forward(self, images: object, features: dict[str, Tensor], targets: object) -> object:
        return self.rpn(images, {name: features[name] for name in self.maps}, targets)


def bare_network(method: Xpm, *, rois_per_image: int, num_classes: int, image_size: int) -> MaskRCNN:
    """Torchvision's Mask R-CNN around copies of our backbone, RPN, pooling and heads."""
    ours = method._engine.network
    hidden = ours.embedding_head.hidden2.out_features
    mask = copy.deepcopy(ours.mask_head)
    network = MaskRCNN(
        copy.deepcopy(ours.backbone),
        min_size=image_size,
        max_size=image_size,
        rpn_anchor_generator=copy.deepcopy(ours.rpn.anchor_generator),
        rpn_head=copy.deepcopy(ours.rpn.head),
        rpn_pre_nms_top_n_train=ours.rpn._pre_nms_top_n["training"],
        rpn_post_nms_top_n_train=ours.rpn._post_nms_top_n["training"],
        box_roi_pool=MultiScaleRoIAlign(list(ours.backbone.boxes.maps), output_size=7, sampling_ratio=1),
        box_head=BoxHead(method),
        box_predictor=FastRCNNPredictor(hidden, num_classes),
        box_batch_size_per_image=rois_per_image,
        mask_roi_pool=MultiScaleRoIAlign(list(ours.backbone.masks.maps), output_size=14, sampling_ratio=1),
        mask_head=mask.convs,
        mask_predictor=nn.Sequential(
            mask.upsample, nn.ReLU(inplace=True), nn.Conv2d(mask.mask.in_channels, num_classes, 1)
        ),
    )
    network.rpn = AnchorMapsOnly(network.rpn, maps=ours.backbone.anchor_maps)
    return network


def with_our_pooling(network: MaskRCNN, method: Xpm) -> MaskRCNN:
    """The same bare network, pooling as ours does."""
    changed = copy.deepcopy(network)
    changed.roi_heads.box_roi_pool = copy.deepcopy(method._engine.network.box_pool)
    changed.roi_heads.mask_roi_pool = copy.deepcopy(method._engine.network.mask_pool)
    return changed


def torchvision_targets(batch: RegionBatch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The same views with annotation on every image, in torchvision's form."""
    mean, std = torch.tensor(PIXEL_MEAN)[:, None, None], torch.tensor(PIXEL_STD)[:, None, None]
    images, targets = [], []
    for index, (height, width) in enumerate(batch.images.sizes_hw):
        images.append(batch.images.pixels[index, :, :height, :width] * std + mean)
        truth = batch.truth[index % len(batch.truth)]
        targets.append({"boxes": truth.boxes_xyxy, "labels": truth.class_indices + 1, "masks": truth.masks})
    return images, targets


def measure(arguments: argparse.Namespace) -> list[Figure]:
    """Our step against the bare ones, in turns."""
    device = choose_device("auto", threads=arguments.threads)
    method = build_method(arguments, device=device)
    captions = caption_images(arguments.images, size=arguments.image_size)
    with autocast(device, precision=arguments.precision):
        annotations = method.label(captions)
    labelled = [
        LabelledImage(sample=image.sample, pixels=image.pixels, words=image.words, annotation=annotation)
        for image, annotation in zip(captions, annotations, strict=True)
    ]
    base = base_images(arguments.images, size=arguments.image_size)
    batch = method.collate(labelled, base, rng=np.random.default_rng(0))
    num_pseudo = sum(len(target.instance_words) for target in batch.pseudo)
    rois = round((arguments.rois * len(base) + num_pseudo) / (2 * arguments.images))
    bare = bare_network(
        method, rois_per_image=rois, num_classes=1 + len(method.vocabulary), image_size=arguments.image_size
    ).to(device)
    networks = {"ours": method.network, "its own pooling": bare, "our pooling": with_our_pooling(bare, method)}
    images, targets = torchvision_targets(batch)
    images = [image.to(device) for image in images]
    targets = [{name: value.to(device) for name, value in target.items()} for target in targets]
    pooled = count_rois({"ours": method._engine.network.embedding_head, "bare": bare.roi_heads.box_head})

    def contender(name: str) -> Callable[[], None]:
        network = networks[name]
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

        def step() -> None:
            losses = method.losses(batch) if name == "ours" else network.train()(images, targets)
            optimiser.zero_grad(set_to_none=True)
            torch.stack([loss.float() for loss in losses.values()]).sum().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()

        return step

    seconds = time_interleaved(
        [contender(name) for name in networks],
        repetitions=arguments.repetitions,
        device=device,
        precision=arguments.precision,
    )
    rois_of = {name: pooled["ours" if name == "ours" else "bare"] for name in networks}
    took = {name: 1e3 * statistics.median(taken) for name, taken in zip(networks, seconds, strict=True)}
    sizes = f"backbone {arguments.backbone}, {2 * arguments.images} images of {arguments.image_size} px a step"
    return [
        Figure(
            name=f"training step : torchvision step ({name})",
            values=paired_ratios(seconds[0], taken),
            unit="ratio",
            goal=Goal(bound=1.2, at_least=False),
            detail=f"ours {took['ours']:.0f} ms with {rois_of['ours']} RoIs, bare {took[name]:.0f} ms with "
            f"{rois_of[name]}; {sizes}",
        )
        for name, taken in list(zip(networks, seconds, strict=True))[1:]
    ]


def count_rois(heads: dict[str, nn.Module]) -> dict[str, int]:
    """Watch the box heads: how many RoIs each pooled in its last step (two calls for ours: base and caption images)."""
    pooled: dict[str, int] = dict.fromkeys(heads, 0)
    calls: dict[str, list[int]] = {name: [] for name in heads}

    def watch(name: str) -> Callable[..., None]:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
            calls[name].append(inputs[0].shape[0])
            pooled[name] = sum(calls[name][-2:]) if name == "ours" else calls[name][-1]

        return count

    for name, head in heads.items():
        head.register_forward_hook(watch(name))
    return pooled


if __name__ == "__main__":
    asked = parse_arguments(__doc__ or "")
    print_figures(measure(asked))
    print_machine(choose_device("auto", threads=asked.threads), precision=asked.precision)
