"""The default engine: an open-vocabulary Mask R-CNN put together from torchvision's parts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import clip_boxes_to_image

from xpm_stream.config.network_sections import ModelConfig
from xpm_stream.engines.base import (
    BackgroundLogits,
    ClassificationLoss,
    DetectionLimits,
    Detections,
    Features,
    GroundTruth,
    ImageBatch,
    RegionMasks,
    Regions,
)
from xpm_stream.engines.roi_sampling import RoiSampler
from xpm_stream.errors import ConfigError
from xpm_stream.learning.detection_selection import select_detections
from xpm_stream.learning.losses import class_logits
from xpm_stream.networks.backbones import Backbone, body_of_resnet, build_backbone
from xpm_stream.networks.region_heads import EmbeddingHead, MaskHead
from xpm_stream.networks.region_pooling import build_region_pooling
from xpm_stream.networks.starting_weights import load_resnet_weights
from xpm_stream.records import MASK_GRID

BOX_POOL = 7
MASK_POOL = MASK_GRID // 2
BOX_LOSS_BETA = 1 / 9
ANCHOR_RATIOS = (0.5, 1.0, 2.0)


class RpnHead(nn.Module):
    """torchvision's RPN head with float32 outputs: under autocast, boxes decoded from bfloat16 are pixels off."""

    def __init__(self, in_channels: int, num_anchors: int) -> None:
        super().__init__()
        self.inner = RPNHead(in_channels, num_anchors)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Feature maps -> objectness [B, A, H, W] and deltas [B, 4A, H, W] of each level."""
        objectness, deltas = self.inner(maps)
        return [level.float() for level in objectness], [level.float() for level in deltas]


class OpenVocabularyRcnn(nn.Module):
    """Parameters of the engine, in the order of the data's path."""

    def __init__(self, config: ModelConfig, *, text_dimension: int) -> None:
        super().__init__()
        small = config.backbone == "small"
        self.backbone = build_backbone(config)
        self.rpn = _build_rpn(config, self.backbone)
        ratio = config.roi_sampling_ratio
        self.box_pool = build_region_pooling(self.backbone.boxes, grid=BOX_POOL, sampling_ratio=ratio)
        self.mask_pool = build_region_pooling(self.backbone.masks, grid=MASK_POOL, sampling_ratio=ratio)
        self.embedding_head = EmbeddingHead(
            self.backbone.boxes.channels,
            pool_size=BOX_POOL,
            hidden=256 if small else 1024,
            text_dimension=text_dimension,
        )
        self.mask_head = MaskHead(
            self.backbone.masks.channels,
            channels=48 if small else 256,
            num_convs=2 if small else 4,
            noise_shapes_masks=config.noise_shapes_masks,
        )


class TorchvisionRcnn:
    """A `DetectionEngine` on torchvision: AnchorGenerator, RegionProposalNetwork, MultiScaleRoIAlign, ResNet + FPN."""

    def __init__(self, config: ModelConfig, *, text_dimension: int) -> None:
        self._config = config
        self._network = OpenVocabularyRcnn(config, text_dimension=text_dimension)
        self._network.to(memory_format=torch.channels_last)
        self._sampler = RoiSampler(rois_per_image=config.num_rois, mask_grid=MASK_GRID)
        self._objectness_pool = build_region_pooling(self._network.backbone.boxes, grid=1, sampling_ratio=2)
        self.classification_loss: ClassificationLoss | None = None
        self.background: BackgroundLogits | None = None
        self.mask_prior_weight = 0.0

    @property
    def network(self) -> OpenVocabularyRcnn:
        """All parameters and buffers."""
        return self._network

    @property
    def embedding_layer(self) -> nn.Module:
        """The last layer of the embedding head: into the text space."""
        return self._network.embedding_head.embedding

    def load_starting_weights(self) -> None:
        """Load `model.weights` into the backbone; nothing without the option.

        Raises:
            ConfigError: they cannot be found, fetched or fitted, or the small backbone was asked to take them.
        """
        if self._config.weights is not None:
            if self._config.backbone == "small":
                raise ConfigError(
                    f"model.weights {self._config.weights!r} cannot go into model.backbone 'small', which has none: "
                    "set model.weights to null, or choose resnet18, resnet50 or resnet101"
                )
            body = body_of_resnet(self._network.backbone)
            load_resnet_weights(body, self._config.weights, backbone=self._config.backbone)

    def logits(self, embeddings: Tensor, class_embeddings: Tensor) -> Tensor:
        """Score regions [R, D] against words [V, D] as the configuration says (Eq. 1): [R, 1 + V]."""
        scale = self._config.logit_scale if self._config.logit == "cosine" else None
        return class_logits(embeddings, class_embeddings, scale=scale)

    def freeze_trunk(self) -> None:
        """Let backbone and RPN learn no more, statistics of their normalisation included; call it in train mode."""
        self._network.backbone.eval().requires_grad_(False)
        self._network.rpn.requires_grad_(False)

    def objectness(self, features: Features, boxes_xyxy: Sequence[Tensor]) -> Tensor:
        """Return the best anchor's objectness logit, averaged over the middle half of boxes: [R]."""
        maps = self._anchor_maps(features)
        levels, _ = self._network.rpn.head(list(maps.values()))
        best = Features(
            maps={name: level.amax(dim=1, keepdim=True) for name, level in zip(maps, levels, strict=True)},
            images=features.images,
        )
        return self._pool(self._objectness_pool, best, [_middle_half(boxes) for boxes in boxes_xyxy]).flatten()

    def extract(self, images: ImageBatch) -> Features:
        """Run the backbone once."""
        return Features(maps=self._network.backbone(images.pixels), images=images)

    def propose(self, features: Features) -> list[Tensor]:
        """Return class-agnostic proposals, [P, 4] for each image, best first and without gradient, in either mode."""
        rpn = self._network.rpn
        training = rpn.training
        rpn.eval()  # in training mode it asks for targets; it has no layer that differs
        try:
            with torch.no_grad():
                boxes, _ = rpn(_image_list(features.images), self._anchor_maps(features), None)
        finally:
            rpn.train(training)
        return list(boxes)

    def embed_regions(self, features: Features, boxes_xyxy: Sequence[Tensor]) -> Regions:
        """Pool and embed boxes ([P, 4] for each image; P may be 0)."""
        embeddings, deltas = self._network.embedding_head(self._pool(self._network.box_pool, features, boxes_xyxy))
        return Regions(embeddings=embeddings, refined_xyxy=self._refine(features, boxes_xyxy, deltas.detach()))

    def segment_regions(
        self, features: Features, boxes_xyxy: Sequence[Tensor], *, class_embeddings: Tensor | None = None
    ) -> RegionMasks:
        """Pool boxes and predict their masks and pixel noise; each box's class [R, D] is for the mask prior only."""
        logits, noise = self._network.mask_head(self._pool(self._network.mask_pool, features, boxes_xyxy))
        if self.mask_prior_weight and class_embeddings is not None:
            logits = logits + self.mask_prior_weight * self._mask_prior(features, boxes_xyxy, class_embeddings)
        return RegionMasks(logits=logits, noise_log_variance=noise)

    def proposal_losses(self, features: Features, boxes_xyxy: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the proposal network's losses towards given boxes ([K, 4] for each image; K may be 0)."""
        assert self._network.training, "proposal losses are taken in train mode"
        targets = [{"boxes": boxes} for boxes in boxes_xyxy]
        _, rpn = self._network.rpn(_image_list(features.images), self._anchor_maps(features), targets)
        return {"rpn_objectness": rpn["loss_objectness"], "rpn_box": rpn["loss_rpn_box_reg"]}

    def box_losses(self, features: Features, boxes_xyxy: Sequence[Tensor], targets_xyxy: Sequence[Tensor]) -> Tensor:
        """Return what it costs that regions are not refined to their targets: smooth L1 [R], summed over the sides."""
        _, deltas = self._network.embedding_head(self._pool(self._network.box_pool, features, boxes_xyxy))
        wanted = self._sampler.box_coder.encode_single(torch.cat(list(targets_xyxy)), torch.cat(list(boxes_xyxy)))
        return functional.smooth_l1_loss(deltas, wanted, beta=BOX_LOSS_BETA, reduction="none").sum(dim=1)

    def detection_losses(
        self, features: Features, truth: Sequence[GroundTruth], *, class_embeddings: Tensor
    ) -> dict[str, Tensor]:
        """Return L_GT: RPN objectness and boxes, cross-entropy with weighted background, smooth L1 boxes, mask BCE."""
        assert self._network.training, "detection losses are taken in train mode"
        targets = [{"boxes": target.boxes_xyxy} for target in truth]
        proposals, rpn = self._network.rpn(_image_list(features.images), self._anchor_maps(features), targets)
        rois = self._sampler.sample(proposals, truth)
        pooled = self._pool(self._network.box_pool, features, rois.boxes_xyxy)
        embeddings, deltas = self._network.embedding_head(pooled)
        logits = self._logits_with_background(features, rois.boxes_xyxy, embeddings, class_embeddings)
        weights = logits.new_ones(logits.shape[1])
        weights[0] = self._config.background_weight
        if self.classification_loss is None:
            classification = functional.cross_entropy(logits, rois.labels, weight=weights)
        else:
            classification = self.classification_loss(logits, rois.labels, class_weights=weights)
        # Divided by all RoIs, as Mask R-CNN does, so that images without instances do not weigh more.
        box = functional.smooth_l1_loss(deltas[rois.positives], rois.box_deltas, beta=BOX_LOSS_BETA, reduction="sum")
        return {
            "rpn_objectness": rpn["loss_objectness"],
            "rpn_box": rpn["loss_rpn_box_reg"],
            "classification": classification,
            "box": box / rois.labels.numel(),
            "mask": self._mask_loss(
                features,
                rois.positive_boxes_xyxy,
                rois.masks,
                class_embeddings=class_embeddings[rois.labels[rois.positives] - 1],
            ),
        }

    def detect(
        self, features: Features, *, vocabularies: Sequence[Tensor], limits: DetectionLimits
    ) -> list[list[Detections]]:
        """For each vocabulary [V, D], for each image: the detections. Regions are pooled once for all vocabularies."""
        proposals = self.propose(features)
        regions = self.embed_regions(features, proposals)
        counts = [len(boxes) for boxes in proposals]
        results = []
        for vocabulary in vocabularies:
            logits = self._logits_with_background(features, proposals, regions.embeddings, vocabulary)
            probabilities = logits.softmax(dim=1)[:, 1:]
            kept = [
                select_detections(
                    boxes,
                    scores,
                    score_threshold=limits.score_threshold,
                    nms_iou=limits.nms_iou,
                    max_detections=limits.max_detections,
                )
                for boxes, scores in zip(regions.refined_xyxy, torch.split(probabilities, counts), strict=True)
            ]
            found = self.segment_regions(
                features,
                [boxes for boxes, _, _ in kept],
                class_embeddings=vocabulary[torch.cat([classes for _, _, classes in kept])],
            )
            masks = found.logits.sigmoid()
            parts = torch.split(masks, [len(boxes) for boxes, _, _ in kept])
            results.append(
                [
                    Detections(boxes_xyxy=boxes, scores=scores, class_indices=classes, mask_probabilities=mask)
                    for (boxes, scores, classes), mask in zip(kept, parts, strict=True)
                ]
            )
        return results

    def _logits_with_background(
        self, features: Features, boxes_xyxy: Sequence[Tensor], embeddings: Tensor, class_embeddings: Tensor
    ) -> Tensor:
        logits = self.logits(embeddings, class_embeddings)
        if self.background is None:
            return logits
        background = self.background(features, boxes_xyxy, embeddings)
        return torch.cat([background[:, None].to(logits.dtype), logits[:, 1:]], dim=1)

    def _mask_prior(self, features: Features, boxes_xyxy: Sequence[Tensor], class_embeddings: Tensor) -> Tensor:
        """How much more each cell answers to the region's class than the others, on the RoI grid: [R, g, g]."""
        cells = self._network.embedding_head.of_cells(self._pool(self._network.box_pool, features, boxes_xyxy))
        classes = class_embeddings.float()
        if self._config.logit == "cosine":
            cells = functional.normalize(cells, dim=3) * self._config.logit_scale
            classes = functional.normalize(classes, dim=1)
        response = torch.einsum("rhwd,rd->rhw", cells, classes)
        centred = response - response.mean(dim=(1, 2), keepdim=True)
        return functional.interpolate(centred[:, None], size=MASK_GRID, mode="bilinear")[:, 0]

    def _anchor_maps(self, features: Features) -> OrderedDict[str, Tensor]:
        return OrderedDict((name, features.maps[name]) for name in self._network.backbone.anchor_maps)

    def _pool(self, pool: nn.Module, features: Features, boxes_xyxy: Sequence[Tensor]) -> Tensor:
        padded = [tuple(features.images.pixels.shape[-2:])] * len(features.images)
        pooled: Tensor = pool(features.maps, list(boxes_xyxy), padded)
        return pooled

    def _refine(self, features: Features, boxes_xyxy: Sequence[Tensor], deltas: Tensor) -> list[Tensor]:
        parts = torch.split(deltas, [len(boxes) for boxes in boxes_xyxy])
        return [
            clip_boxes_to_image(self._sampler.box_coder.decode_single(part, boxes), size)
            for part, boxes, size in zip(parts, boxes_xyxy, features.images.sizes_hw, strict=True)
        ]

    def _mask_loss(
        self, features: Features, boxes_xyxy: Sequence[Tensor], masks: Tensor, *, class_embeddings: Tensor
    ) -> Tensor:
        predicted = self.segment_regions(features, boxes_xyxy, class_embeddings=class_embeddings)
        total = functional.binary_cross_entropy_with_logits(predicted.logits, masks, reduction="sum")
        # Ground truth has no noise; the zero gives its head a gradient, which replicas of a distributed run wait for.
        return total / max(masks.numel(), 1) + 0.0 * predicted.noise_log_variance.sum()


def _middle_half(boxes_xyxy: Tensor) -> Tensor:
    quarter = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 4
    return torch.cat([boxes_xyxy[:, :2] + quarter, boxes_xyxy[:, 2:] - quarter], dim=1)


def _image_list(images: ImageBatch) -> ImageList:
    return ImageList(images.pixels, images.sizes_hw)


def _build_rpn(config: ModelConfig, backbone: Backbone) -> RegionProposalNetwork:
    if len(backbone.anchor_maps) == 1:
        base = config.image_size
        sizes: tuple[tuple[int, ...], ...] = ((base // 6, base // 3, int(base / 1.6)),)
    else:
        sizes = tuple((size,) for size in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sizes, (ANCHOR_RATIOS,) * len(sizes))
    num_proposals = config.num_proposals
    return RegionProposalNetwork(
        anchors,
        RpnHead(backbone.out_channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        # Training sees twice as many, so that sampling has negatives to choose from.
        pre_nms_top_n={"training": 10 * num_proposals, "testing": 10 * num_proposals},
        post_nms_top_n={"training": 2 * num_proposals, "testing": num_proposals},
        nms_thresh=0.7,
    )
