"""Run a detector over annotated images and judge it in both settings; images go through it once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xpm_stream.config.role_sections import EvaluationConfig
from xpm_stream.errors import DataError
from xpm_stream.evaluation.detector import (
    BoxProposer,
    DetectionResult,
    Detector,
    Image,
    ImageDetections,
    ProposalResult,
)
from xpm_stream.evaluation.instance_ap import InstanceScores, Scores, Setting, Split, score_instances
from xpm_stream.evaluation.proposal_recall import ProposalRecall, proposal_recall
from xpm_stream.evaluation.truth import GroundTruth, Protocol
from xpm_stream.monitoring.summary import ClassScores, ModelScores, SplitScores

SETTINGS: Final[tuple[Setting, Setting]] = ("constrained", "generalized")
_CONSTRAINED: Final[tuple[Split, Split]] = ("base", "target")
_FEDERATED_MAX_DETECTIONS: Final = 300  # of an image: LVIS's own limit; Open Images has none


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """Everything one evaluation of one model says."""

    constrained: Mapping[Split, InstanceScores]  # base and target; a split without images, or not asked for, is absent
    generalized: InstanceScores | None  # None where it was not asked for
    proposals: Mapping[Split, ProposalRecall]  # empty where the detector cannot propose
    target_classes: Sequence[str]
    absent_classes: Sequence[str]  # of the split, but no category of the annotations: not evaluated
    protocol: Protocol
    num_images: int
    seconds: float

    def model_scores(self, *, checkpoint: str, promotion: int | None = None, step: int | None = None) -> ModelScores:
        """Return the figures that summary.json and the final table keep, in percent."""
        return ModelScores(
            checkpoint=checkpoint,
            promotion=promotion,
            step=step,
            num_images=self.num_images,
            protocol=self.protocol,
            constrained={name: _percent(scores.by_split[name]) for name, scores in self.constrained.items()},
            generalized=(
                {name: _percent(scores) for name, scores in self.generalized.by_split.items()}
                if self.generalized
                else {}
            ),
            proposal_recall={
                str(name): {str(budget): _points(share) for budget, share in recall.at.items()}
                for name, recall in self.proposals.items()
            },
            classes=self._classes(),
            absent_classes=list(self.absent_classes),
        )

    def _classes(self) -> dict[str, ClassScores]:
        constrained = {name: one for scores in self.constrained.values() for name, one in scores.by_class.items()}
        generalized = self.generalized.by_class if self.generalized else {}
        targets = set(self.target_classes)
        return {
            name: ClassScores(
                split="target" if name in targets else "base",
                constrained=_percent(constrained[name]) if name in constrained else None,
                generalized=_percent(generalized[name]) if name in generalized else None,
            )
            for name in dict.fromkeys([*constrained, *generalized])
        }


def evaluate_model(
    detector: Detector,
    *,
    truth: GroundTruth,
    read_image: Callable[[int], Image],
    base: Sequence[str],
    target: Sequence[str],
    config: EvaluationConfig,
    settings: Collection[Setting] = SETTINGS,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Judge `detector` on the images of `truth` that count for a base or target class, in one or both settings.

    `read_image` returns the pixels of an image id, H x W x 3 RGB; `on_progress` hears (images done, images in all).

    Raises:
        DataError: no image counts for any of the classes, or the detector's answer does not fit the question.
    """
    started = time.monotonic()
    everything = [*dict.fromkeys([*base, *target])]
    image_ids = truth.images_to_judge(everything)
    if config.max_images:
        image_ids = image_ids[: config.max_images]
    if not image_ids:
        raise DataError(f"{truth.source}: no image contains any base or target class; check the split")
    judged = truth.subset(image_ids)
    splits: dict[Split, list[str]] = {
        "base": truth.known_classes(base),
        "target": truth.known_classes(target),
        "all": truth.known_classes(everything),
    }
    asked = {split: names for split, names in splits.items() if _is_asked(judged, split, names, settings)}
    results, proposals = _detect(
        detector,
        image_ids,
        truth=truth,
        read_image=read_image,
        vocabularies=asked,
        batch_images=config.batch_images,
        on_progress=on_progress,
    )
    limit = detections_per_image(truth.protocol, config)
    return EvaluationReport(
        constrained={
            split: score_instances(
                results[split],
                truth=judged,
                setting="constrained",
                splits={split: splits[split]},
                max_detections=limit,
            )
            for split in _CONSTRAINED
            if split in asked
        },
        generalized=(
            score_instances(results["all"], truth=judged, setting="generalized", splits=splits, max_detections=limit)
            if "all" in asked
            else None
        ),
        proposals=proposal_recall(proposals, truth=judged, splits=splits) if proposals else {},
        target_classes=splits["target"],
        absent_classes=[name for name in everything if name not in truth.category_ids],
        protocol=truth.protocol,
        num_images=len(image_ids),
        seconds=time.monotonic() - started,
    )


def detections_per_image(protocol: Protocol, config: EvaluationConfig) -> int:
    """Return how many detections of an image are judged: 300 at least where a federated protocol has as many."""
    return config.max_detections if protocol == "coco" else max(config.max_detections, _FEDERATED_MAX_DETECTIONS)


def _is_asked(judged: GroundTruth, split: Split, names: Sequence[str], settings: Collection[Setting]) -> bool:
    if split == "all":
        return "generalized" in settings
    return "constrained" in settings and bool(judged.images_to_judge(names))


def judge_classes(
    detector: Detector,
    *,
    truth: GroundTruth,
    read_image: Callable[[int], Image],
    names: Sequence[str],
    config: EvaluationConfig,
    on_progress: Callable[[int, int], None] | None = None,
) -> InstanceScores:
    """Judge `detector` on one set of classes alone: its `by_split` holds `base`, the mean over `names`.

    Raises:
        DataError: no image contains any of the classes, or the detector's answer does not fit the question.
    """
    known = truth.known_classes(names)
    results, _ = _detect(
        detector,
        truth.images_to_judge(known),
        truth=truth,
        read_image=read_image,
        vocabularies={"base": known},
        batch_images=config.batch_images,
        on_progress=on_progress,
        propose=False,
    )
    return score_instances(
        results["base"],
        truth=truth,
        setting="constrained",
        splits={"base": known},
        max_detections=detections_per_image(truth.protocol, config),
    )


def _detect(
    detector: Detector,
    image_ids: Sequence[int],
    *,
    truth: GroundTruth,
    read_image: Callable[[int], Image],
    vocabularies: Mapping[Split, Sequence[str]],
    batch_images: int,
    on_progress: Callable[[int, int], None] | None,
    propose: bool = True,
) -> tuple[dict[Split, list[DetectionResult]], list[ProposalResult]]:
    results: dict[Split, list[DetectionResult]] = {split: [] for split in vocabularies}
    proposals: list[ProposalResult] = []
    done = 0
    for batch in _batches(image_ids, truth=truth, most=batch_images):
        images = [read_image(image_id) for image_id in batch]
        answers = _ask(detector, images, vocabularies=list(vocabularies.values()))
        for split, answer in zip(vocabularies, answers, strict=True):
            results[split].extend(_result(image_id, found) for image_id, found in zip(batch, answer, strict=True))
        if propose and isinstance(detector, BoxProposer):
            boxes = zip(batch, detector.propose_boxes(images), strict=True)
            proposals.extend(ProposalResult(image_id=image_id, boxes_xyxy=found) for image_id, found in boxes)
        if on_progress is not None:
            done += len(batch)
            on_progress(done, len(image_ids))
    return results, proposals


def _batches(image_ids: Sequence[int], *, truth: GroundTruth, most: int) -> list[list[int]]:
    """Batches of images of one size: padding an image to its neighbours' size would move its scores."""
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for image_id in image_ids:
        image = truth.images[image_id]
        by_size[image["height"], image["width"]].append(image_id)
    return [same[start : start + most] for same in by_size.values() for start in range(0, len(same), most)]


def _ask(
    detector: Detector, images: Sequence[Image], *, vocabularies: Sequence[Sequence[str]]
) -> Sequence[Sequence[ImageDetections]]:
    answers = detector.detect(images, vocabularies)
    shape = [len(answer) for answer in answers]
    if shape != [len(images)] * len(vocabularies):
        raise DataError(
            f"the detector was asked {len(vocabularies)} vocabularies of {len(images)} images "
            f"and answered lists of {shape}; it must answer one list for each vocabulary, one item for each image"
        )
    return answers


def _result(image_id: int, found: ImageDetections) -> DetectionResult:
    return DetectionResult(
        image_id=image_id,
        boxes_xyxy=found.boxes_xyxy,
        scores=found.scores,
        class_names=found.class_names,
        masks=found.masks,
    )


def _percent(scores: Scores) -> SplitScores:
    return SplitScores(
        mask_ap50=_points(scores.mask.ap50),
        box_ap50=_points(scores.box.ap50),
        mask_ap=_points(scores.mask.ap),
        box_ap=_points(scores.box.ap),
        num_instances=scores.num_instances,
    )


def _points(share: float | None) -> float | None:
    return None if share is None else 100.0 * share
