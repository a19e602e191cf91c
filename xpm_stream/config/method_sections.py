"""Sections of single methods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xpm_stream.config.sections import Fraction, Positive, Section

WeightingName = Literal[
    "none",
    "stochastic",
    "class_score",
    "pixel_score",
    "dropout_entropy",
    "robust",
    "label",
    "label_within_word",
    "label_annealed",
]


class XpmConfig(Section):
    """Robust cross-modal pseudo-labeling."""

    variant: Literal["paper", "released"] | None = Field(
        None,
        description="fills every key of docs/learning.md's table that is not set as the paper, or its released code, "
        "has it; none: this system's defaults",
    )
    assignment: Literal["argmax", "exclusive"] = Field(
        "exclusive", description="Eq. 2's independent argmax, or greedy with one region for one word"
    )
    block_iou: Fraction = Field(0.5, description="exclusive: regions that overlap a taken one above this are blocked")
    assignment_context: Literal["vocabulary", "caption", "logit"] = Field(
        "caption",
        description="regions are ranked by log softmax over V_C, over the image's own words (background included in "
        "both), or by the plain score (the paper's Eq. 2)",
    )
    box_voting: bool = Field(
        True, description="a word's box is the mean of all regions that see the same object, not the best one's alone"
    )
    box_refinements: Annotated[int, Field(ge=0, le=2)] = Field(
        1, description="how often box regression moves a word's proposal; the released code does it twice"
    )
    weighting: WeightingName = Field(
        "stochastic",
        description="Table 3. `stochastic`: Eq. 6's noise in L_M only; scores: weights of L_X; `robust`: Eq. 6 and 7; "
        "`label`: the label's own reliability, `label_within_word`: against what is usual for its word, "
        "`label_annealed`: as far as its word is usually trusted",
    )
    eta: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Eq. 7's eta; none: measured as a low quantile of the mean noise"
    )
    eta_quantile: Fraction = Field(0.05, description="which quantile of the mean noise eta is, where it is measured")
    alpha_scope: Literal["object", "image"] = Field(
        "object", description="`robust`: Eq. 7's mean noise is of each object, or of all objects of an image"
    )
    limit_alpha: bool = Field(True, description="`robust`: alpha is at most 1")
    background_in_cross_modal: bool = Field(
        False, description="whether L_X's softmax includes the background (Eq. 3's does not, the released code's does)"
    )
    pseudo_regions: Literal["boxes", "proposals"] = Field(
        "boxes", description="the student learns at b_o, or also at its own proposals that overlap b_o by IoU >= 0.5"
    )
    frozen_trunk: bool = Field(
        False, description="backbone and proposal network stay as the first teacher's; only the heads learn from labels"
    )
    cross_modal_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_X")
    mask_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_M")
    reliability: Literal["standardised", "noise", "class_score", "pixel_score", "dropout_entropy"] = Field(
        "class_score",
        description="the reliability that labels carry and operators see; `class_score`: class evidence as it is, "
        "`standardised`: against the word's own mean and spread",
    )
    reliability_score: Literal["vocabulary", "caption", "logit"] = Field(
        "caption",
        description="class evidence: log softmax over V_C, over the captions' own words, or the plain logit",
    )
    dropout_passes: Positive = Field(8, description="`dropout_entropy`: passes averaged")
    dropout_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="`dropout_entropy`: share of the region embedding that a pass drops"
    )


class OmpConfig(Section):
    """The object mask prior of method `omp`."""

    prior_weight: Annotated[float, Field(ge=0)] = Field(
        1.0, description="weight of the per-cell class response (in class logits) on the mask logits"
    )


class VisualTeacherConfig(Section):
    """What Soft Teacher and Unbiased Teacher share."""

    classes: Literal["base", "split", "vocabulary"] = Field(
        "split",
        description="names the teacher may give: base classes, with the target classes of data.split, or all of V_C",
    )
    score_threshold: Fraction = Field(0.7, description="detections above this are pseudo truth")
    nms_iou: Fraction = Field(0.5, description="of two detections of a class that overlap above this, one stays")
    max_instances: Positive = Field(100, description="detections kept of an image")
    num_proposals: Positive = Field(128, description="teacher's proposals a label carries (20 bytes each), best first")
    strong_views: bool = Field(True, description="the student sees shaken colours, blur and cut-out rectangles")
    weight: Annotated[float, Field(ge=0)] = Field(2.0, description="weight of all losses on caption images")
    mask_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="further weight of the pseudo-mask loss")


class SoftTeacherConfig(VisualTeacherConfig):
    """Soft Teacher, a visual-only rival; wants `optimiser.ema_decay: 0.999` and `promotion.candidate: ema`."""

    score_threshold: Fraction = Field(0.9, description="detections above this teach classes, proposals and masks")
    box_score_threshold: Fraction = Field(0.5, description="detections above this may teach boxes")
    jitters: Annotated[int, Field(ge=2)] = Field(10, description="shaken copies of a box that the teacher refines")
    jitter_scale: Annotated[float, Field(gt=0, le=1)] = Field(
        0.06, description="largest shift of a side, as a share of the box's width or height"
    )
    max_box_deviation: Annotated[float, Field(gt=0)] = Field(
        0.02, description="spread of the refined copies, relative to the box, up to which a box is learnt"
    )


class UnbiasedTeacherConfig(VisualTeacherConfig):
    """Unbiased Teacher, a visual-only rival; wants `optimiser.ema_decay: 0.9996` and `promotion.candidate: ema`."""

    focal_gamma: Annotated[float, Field(ge=0)] = Field(1.5, description="how much less regions count that are right")


class Cap2DetConfig(Section):
    """Cap2Det: image-level labels from captions, and multiple-instance detection."""

    classes: Literal["base", "split", "vocabulary"] = Field(
        "split", description="classes sought in captions: base, with the target classes of data.split, or all of V_C"
    )
    label_inference: Literal["exact", "nearest"] = Field(
        "exact", description="`nearest`: captions that name no class stand for the class nearest in the text space"
    )
    num_proposals: Positive = Field(128, description="teacher's proposals a label carries (20 bytes each), best first")
    image_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the image-label loss")
    refinement_weight: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the online refinement")
    refinement_iou: Fraction = Field(0.5, description="proposals that overlap the best one this much share its class")
