"""A checkpoint judged on annotated images, the figures written as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import BaseSetConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.splits import load_split
from xpm_stream.errors import ConfigError, DataError
from xpm_stream.evaluation.evaluate import SETTINGS, EvaluationReport, detections_per_image, evaluate_model
from xpm_stream.evaluation.instance_ap import Setting
from xpm_stream.evaluation.truth import GroundTruth, Protocol
from xpm_stream.monitoring.summary import ModelScores
from xpm_stream.registry.revisions import find_revision, find_source, reading, split_revision
from xpm_stream.stages.loaded_model import LoadedModel, load_model


def evaluate_checkpoint(
    url: str,
    *,
    annotations: BaseSetConfig,
    split_file: str,
    like: RunConfig | None = None,
    evaluation: Mapping[str, object] | None = None,
    settings: Collection[Setting] = SETTINGS,
    protocol: Protocol | None = None,
    output: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ModelScores:
    """Evaluate a checkpoint; with `output`, also write the figures there.

    `url` is a checkpoint's folder, or a run folder or a registry, which stands for its champion; `URL@REVISION` for
    another one. `evaluation` gives single settings of that section, above those of `like` and of the checkpoint;
    `protocol` whose rules to judge by (none: those the annotations are made for).

    Raises:
        RegistryError: there is no such registry, revision or checkpoint, or it is damaged.
        BaseSetError: the annotations or images cannot be used.
        DataError: the evaluation has no image to judge.
        ConfigError: `output` cannot be written.
    """
    if output is not None:
        _require_file(output)  # before the work, not after it
    found = _checkpoint_of(url)
    truth = GroundTruth.from_file(annotations.annotations, protocol=protocol)
    rules: dict[str, object] = {}
    if truth.protocol != "coco":  # the model must give as many detections as are judged
        rules["max_detections"] = detections_per_image(truth.protocol, (like or RunConfig()).evaluation)
    model = load_model(found, like=like, evaluation={**rules, **(evaluation or {})})
    report = _judge(
        model, truth=truth, annotations=annotations, split_file=split_file, settings=settings, on_progress=on_progress
    )
    scores = report.model_scores(checkpoint=model.name)
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(scores), indent=2) + b"\n")
    return scores


def _require_file(output: Path) -> None:
    if output.is_dir():
        raise ConfigError(f"{output} is a folder: name the file for the figures, as {output / 'figures.json'}")
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise ConfigError(f"the figures cannot be written to {output}: permission denied")


def _checkpoint_of(given: str) -> str:
    url, revision = split_revision(given)
    with reading(url):
        source = find_source(url)
        if source.alone is not None:
            return url
        return f"{source.url}/checkpoints/{find_revision(source, revision).checkpoint}"


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
    truth = GroundTruth.from_file(annotations.annotations)
    return _judge(
        model, truth=truth, annotations=annotations, split_file=split_file, settings=SETTINGS, on_progress=on_progress
    )


def _judge(
    model: LoadedModel,
    *,
    truth: GroundTruth,
    annotations: BaseSetConfig,
    split_file: str,
    settings: Collection[Setting],
    on_progress: Callable[[int, int], None] | None,
) -> EvaluationReport:
    split = load_split(split_file)
    known = truth.known_classes(split.all)
    image_ids = truth.images_to_judge(known)
    if not image_ids:
        if not any(truth.annotations.values()):
            raise DataError(f"{truth.source} has no annotations: there is nothing to judge by")
        raise DataError(
            f"{truth.source}: no image counts for any of the {len(split.all)} classes of split {split_file}; "
            f"its own classes begin {', '.join(sorted(truth.category_ids)[:5])}"
        )
    image_ids = image_ids[: model.config.evaluation.max_images or None]  # the others need not even be there
    images = BaseSet.load(annotations, class_names=known, image_ids=image_ids)
    index_of = {image.id: index for index, image in enumerate(images.images)}
    return evaluate_model(
        model,
        truth=truth,
        read_image=lambda image_id: images[index_of[image_id]].pixels,
        base=split.base,
        target=split.target,
        config=model.config.evaluation,
        settings=settings,
        on_progress=on_progress,
    )
