"""A checkpoint judged on annotated images, the figures written as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import BaseSetConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.splits import load_split
from xpm_stream.evaluation.evaluate import EvaluationReport, evaluate_model
from xpm_stream.evaluation.truth import GroundTruth
from xpm_stream.monitoring.summary import ModelScores
from xpm_stream.stages.loaded_model import LoadedModel, load_model


def evaluate_checkpoint(
    url: str,
    *,
    annotations: BaseSetConfig,
    split_file: str,
    like: RunConfig | None = None,
    output: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ModelScores:
    """Evaluate a checkpoint folder in both settings; with `output`, also write the figures there.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        BaseSetError: the annotations or images cannot be used.
    """
    model = load_model(url, like=like)
    report = judge_model(model, annotations=annotations, split_file=split_file, on_progress=on_progress)
    scores = report.model_scores(checkpoint=model.name)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(msgspec.json.format(msgspec.json.encode(scores), indent=2) + b"\n")
    return scores


def judge_model(
    model: LoadedModel,
    *,
    annotations: BaseSetConfig,
    split_file: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Judge a loaded model in both settings, with its own `evaluation` section.

    Raises:
        BaseSetError: the annotations or images cannot be used.
    """
    split = load_split(split_file)
    truth = GroundTruth.from_file(annotations.annotations)
    known = truth.known_classes(split.all)
    images = BaseSet.load(annotations, class_names=known)
    index_of = {image.id: index for index, image in enumerate(images.images)}
    return evaluate_model(
        model,
        truth=truth,
        read_image=lambda image_id: images[index_of[image_id]].pixels,
        base=split.base,
        target=split.target,
        config=model.config.evaluation,
        on_progress=on_progress,
    )
