"""Sections of the drift monitor and of the gates between a student and its promotion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from xpm_stream.config.sections import Fraction, NonNegative, Positive, Seconds, Section


class DriftConfig(Section):
    """The drift monitor: windows of labels against what labels were."""

    enabled: bool = Field(True, description="whether `up` starts a monitor")
    poll_s: Seconds = Field(1.0, description="how often new labels are looked for")
    window_labels: Positive = Field(500, description="a window closes with this many labels")
    window_s: Seconds = Field(600.0, description="or this long after its first label")
    min_window_labels: Positive = Field(100, description="a window with fewer labels is shown, not judged")
    reference_labels: Annotated[int, Field(ge=100)] = Field(
        20_000, description="labels that a reference is made of; 30 windows or more, better 100"
    )
    false_alarm_windows: Annotated[float, Field(gt=1)] = Field(
        1000.0, description="mean number of windows between false alarms of one reference"
    )
    block_labels: Positive = Field(
        100, description="labels redrawn together for thresholds: several times as many as resemble their neighbours"
    )
    num_bins: Annotated[int, Field(ge=2)] = Field(10, description="quantile bins of each number")
    top_words: Positive = Field(50, description="words with a bin of their own")
    brake: bool = Field(True, description="whether an alarm holds promotions back")
    brake_release_windows: Positive = Field(3, description="windows without alarm in a row that release the brake")
    keep_windows: Positive = Field(10_000, description="records of windows kept in the registry")


class GatesConfig(Section):
    """What a candidate must show before it becomes the teacher."""

    enabled: bool = Field(True, description="false: whole files and finite weights are enough")
    device: str = Field("auto", description="where candidates are measured: auto, cpu, cuda, cuda:N")
    min_steps: NonNegative = Field(0, description="trainer steps since the champion's candidate")
    min_samples: NonNegative = Field(0, description="caption samples trained since the champion's candidate")
    held_out_images: NonNegative = Field(
        200, description="images of data.val on which base classes are judged; 0: they are not"
    )
    max_base_ap50_drop: Annotated[float, Field(ge=0)] = Field(
        5.0, description="points of mask AP50 of base classes that a candidate may be below the champion"
    )
    canary_images: NonNegative = Field(
        200, description="frozen caption images that every candidate labels; 0: no canary set"
    )
    min_canary_agreement: Fraction = Field(
        0.3, description="share of canary labels that champion and candidate agree on (word, and box at IoU 0.5)"
    )
    min_label_ratio: Annotated[float, Field(ge=0)] = Field(
        0.5, description="labels a canary image, against the champion's"
    )
    max_label_ratio: Annotated[float, Field(gt=0)] = Field(2.0, description="the same, upwards")
    min_entropy_ratio: Fraction = Field(
        0.5, description="entropy of the words that detections on canary images get, against the champion's"
    )
    max_reliability_drop: Fraction = Field(
        0.1, description="mean reliability of canary labels that a candidate may be below the champion"
    )
    max_failures: Positive = Field(
        5, description="candidates in a row that may fail; then nothing is promoted until a person decides"
    )
