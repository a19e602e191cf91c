"""Sections of the network and of what happens to it before the stream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xpm_stream.config.sections import NonNegative, Positive, Section


class ModelConfig(Section):
    """The open-vocabulary Mask R-CNN."""

    engine: Literal["torchvision"] = Field("torchvision", description="detection engine")
    backbone: Literal["small", "resnet18", "resnet50", "resnet101"] = Field(
        "resnet50", description="`small`: a narrow ResNet for CPU; else torchvision's ResNet + FPN"
    )
    weights: str | None = Field(
        None, description="torchvision weights name (e.g. IMAGENET1K_V2), or a state-dict file; none: from scratch"
    )
    trainable_layers: Annotated[int, Field(ge=0, le=5)] = Field(
        5, description="backbone stages that learn, from the top"
    )
    image_size: Positive = Field(800, description="short side in pixels")
    max_image_size: Positive = Field(1333, description="long side in pixels")
    num_proposals: Positive = Field(300, description="proposals kept of an image after NMS")
    num_rois: Positive = Field(512, description="RoIs sampled of a base image in training")
    roi_sampling_ratio: Positive = Field(
        2, description="RoIAlign samples a cell along each axis; 1 saves a fifth of a CPU step"
    )
    logit: Literal["cosine", "dot"] = Field(
        "cosine", description="class score: scaled cosine, or the paper's plain dot product"
    )
    logit_scale: Annotated[float, Field(gt=0)] = Field(20.0, description="scale of the cosine logits")
    background_weight: Annotated[float, Field(ge=0)] = Field(
        0.2, description="weight of background in the classification loss"
    )
    noise_shapes_masks: bool = Field(
        False, description="whether gradients of the noise head reach the mask feature; the released code stops them"
    )


class GroundingConfig(Section):
    """Word-region grounding (OVR): in caption pretraining, and beside detection with `teacher.grounding_weight`."""

    score: Literal["cosine", "dot"] = Field(
        "cosine", description="s of a word and a region: `model.logit_scale` x cosine, or OVR's dot product / 10"
    )
    window_fractions: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [0.25, 0.5],
        min_length=1,
        description="pretraining: sides of the windows that stand for regions, of the image's; they overlap by half",
    )
    max_regions: Positive = Field(100, description="regions used of an image (windows drawn at random, or best first)")
    equal_are_negatives: bool = Field(
        False,
        description="whether an image with the same nouns, or the same image again, is a negative (OVR's code: yes)",
    )


class PretrainingConfig(Section):
    """Caption pretraining, `xpm-stream pretrain`."""

    steps: Positive = Field(150_000, description="optimiser steps on caption images")
    batch_images: Annotated[int, Field(ge=2)] = Field(32, description="caption images a step, of each rank")
    collapse_after_steps: Positive = Field(
        2000, description="from here on matching accuracy must be above chance, else pretraining ends with an error"
    )
    collapse_window_steps: Positive = Field(200, description="steps over which the accuracy is averaged for that")
    min_accuracy_over_chance: Annotated[float, Field(ge=1)] = Field(
        2.0, description="accuracy below this many times chance is a collapse"
    )
    multimodal_layers: NonNegative = Field(
        0,
        description="transformer layers over [caption tokens; regions] that guess masked tokens, and whether image and "
        "caption match (OVR's optional head, in pretraining only); 0: none",
    )
    multimodal_heads: Positive = Field(
        12, description="attention heads of each such layer; divides the width of the encoder's wordpiece embeddings"
    )
    max_caption_tokens: Positive = Field(64, description="wordpieces read of a caption by these layers; more are cut")
    mask_probability: Annotated[float, Field(gt=0, le=1)] = Field(
        0.15, description="chance of each caption token to be masked; at least one of a caption is"
    )
    mlm_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of masked language modelling")
    itm_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of image-text matching")


class TeacherConfig(Section):
    """Training of the first teacher on base classes."""

    checkpoint: str | None = Field(None, description="start from this checkpoint instead of training one")
    init: str = Field(
        "scratch",
        description="`scratch` (with model.weights); `pretraining`: what `xpm-stream pretrain` left in this folder; "
        "or a checkpoint folder",
    )
    freeze_embedding: bool = Field(
        False, description="whether the embedding layer stays as pretrained (OVR and XPM's teacher freeze it)"
    )
    grounding_weight: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of word-region grounding on caption images beside detection; 0: base images only"
    )
    batch_captions: Annotated[int, Field(ge=2)] = Field(8, description="caption images a step, where grounding is on")
    steps: NonNegative = Field(90_000, description="optimiser steps on the base set")
    batch_images: Positive = Field(8, description="base images a step")
    threads: NonNegative = Field(0, description="CPU threads of torch (nothing else runs meanwhile); 0: its default")
    refresh: Literal["never", "on_promotion"] = Field(
        "on_promotion", description="`never`: the paper; labels always from the first teacher"
    )
