"""Sections of the roles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xpm_stream.config.monitor_sections import GatesConfig
from xpm_stream.config.sections import Fraction, NonNegative, Positive, Precision, Seconds, Section


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
    stop_timeout_s: Seconds = Field(
        45.0, description="told to stop, it has left this much later, whatever it waits for"
    )


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
    stop_timeout_s: Seconds = Field(
        230.0, description="told to stop, it has left this much later, its checkpoint included; teacher training too"
    )
    horizontal_flip: Fraction = Field(0.5, description="probability of a mirrored image")
    replay_images: NonNegative = Field(
        0,
        description="trained images that come back beside the new ones of a step, labelled by the newest teacher, of "
        "each rank; 0: none",
    )
    replay_per_word: Positive = Field(24, description="samples kept of each caption word to be replayed, of each rank")
    replay_capacity: Positive = Field(20_000, description="samples kept in all to be replayed, of each rank")
    replay_inline_mb: Positive = Field(
        64, description="MiB of encoded images that those samples carry where labels carry theirs, of each rank"
    )


class PromotionConfig(Section):
    """When a student becomes the teacher."""

    every_steps: Positive = Field(5000, description="trainer steps between candidates")
    candidate: Literal["student", "ema"] = Field(
        "student", description="what is proposed; `ema` needs optimiser.ema_decay above 0"
    )
    poll_s: Seconds = Field(1.0, description="how often the promoter looks for candidates")
    stop_timeout_s: Seconds = Field(
        45.0, description="told to stop, the promoter has left this much later, whatever it waits for"
    )
    gates: GatesConfig = GatesConfig()


class EvaluationConfig(Section):
    """Held-out evaluation."""

    batch_images: Positive = Field(8, description="images of one size looked at together, at most")
    max_images: NonNegative = Field(0, description="0: all")
    threads: NonNegative = Field(0, description="CPU threads of torch; 0: its default")
    precision: Precision = Field("fp32", description="`auto`: bf16 where the machine computes it fast, else fp32")
    score_threshold: Fraction = Field(0.05, description="detections below this are dropped")
    nms_iou: Fraction = Field(
        0.5, description="of two detections of a class that overlap above this, the better one stays"
    )
    max_detections: Positive = Field(100, description="detections kept of an image")
