"""The whole configuration of a run, one section for each component. Units are in the names; ranges are checked."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from xpm_stream.config.data_sections import DataConfig, PrepareConfig, TextConfig
from xpm_stream.config.method_sections import (
    Cap2DetConfig,
    OmpConfig,
    SoftTeacherConfig,
    UnbiasedTeacherConfig,
    XpmConfig,
)
from xpm_stream.config.monitor_sections import DriftConfig
from xpm_stream.config.network_sections import GroundingConfig, ModelConfig, PretrainingConfig, TeacherConfig
from xpm_stream.config.queue_sections import LogsConfig, MetricsConfig, QueueConfig, RedisConfig, RegistryConfig
from xpm_stream.config.role_sections import (
    EvaluationConfig,
    LabelerConfig,
    OptimiserConfig,
    PromotionConfig,
    TrainerConfig,
)
from xpm_stream.config.sections import NonNegative, Section
from xpm_stream.config.variants import fill_variant


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
    logs: LogsConfig = LogsConfig()
    drift: DriftConfig = DriftConfig()
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
        if self.drift.min_window_labels > self.drift.window_labels:
            raise ValueError(
                f"drift.min_window_labels ({self.drift.min_window_labels}) is above drift.window_labels "
                f"({self.drift.window_labels}), so that no window would ever be judged"
            )
        gates = self.promotion.gates
        if gates.enabled and not gates.canary_images and self.drift.enabled and self.drift.brake:
            raise ValueError(
                "promotion.gates.canary_images: 0 leaves the drift monitor unable to tell a new teacher from new data, "
                "and each promotion would put the brake on: set drift.brake: false, too"
            )
        replayed, kept = self.trainer.replay_images, self.trainer.replay_capacity
        if replayed > kept:
            raise ValueError(f"trainer.replay_images ({replayed}) is above trainer.replay_capacity ({kept})")
        return self
