"""Which reliability tells right labels from wrong ones, and which assignment is right most often, for each teacher.

    python -m benchmarks.reliability runs/quickstart --images 400

The run must be of the synthetic corpus, whose KEY.json says what each picture shows. A label is right when its word is
in the picture and its box overlaps an instance of it by IoU >= 0.5. Every reliability strategy scores the same labels,
those of the run's own assignment, in one pass; each is taken as it is and standardised per word, the statistics running
along as a labeler's do, from nothing. Training shards are used: their masks were never seen, their captions were.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch

from benchmarks.markdown import table
from benchmarks.reliability_curves import draw_curves
from benchmarks.synthetic_truth import Judge, KnownImage, known_images
from xpm_stream.config import load_config
from xpm_stream.config.method_sections import XpmConfig
from xpm_stream.errors import DataError
from xpm_stream.evaluation.pseudo_labels import JudgedInstance
from xpm_stream.evaluation.reliability import ReliabilityQuality, judge_reliability
from xpm_stream.learning.assignment import AssignmentName, find_assignment
from xpm_stream.learning.confidence import evidence_as_probability, pixel_score
from xpm_stream.learning.losses import mean_noise, noise_reliability
from xpm_stream.learning.reliability import StandardisedReliability
from xpm_stream.methods.teacher_student import Scene
from xpm_stream.methods.xpm import AlignedWords, TeacherEvidence, Xpm
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.devices import autocast
from xpm_stream.stages.loaded_model import load_model
from xpm_stream.stages.run_folder import RunFolder

ASSIGNMENTS: Final[tuple[AssignmentName, ...]] = ("argmax", "exclusive")
CONTEXTS: Final = ("logit", "vocabulary", "caption")
EVIDENCE: Final = ("vocabulary", "caption", "logit")
DEFAULT_STRATEGY: Final = "class score, caption"  # the row that is `xpm.reliability` by default
GROUPS: Final = ("target", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherResult:
    """What one promoted teacher's labels are worth."""

    name: str
    quality: dict[str, dict[str, ReliabilityQuality]]  # strategy -> group
    right: dict[str, dict[str, tuple[int, int]]]  # assignment -> group -> right, judged


@dataclass(slots=True)
class Scores:
    """What each strategy said of each label, in order."""

    values: dict[str, list[float]] = field(default_factory=dict)
    standardised: dict[str, list[float]] = field(default_factory=dict)
    statistics: dict[str, StandardisedReliability] = field(default_factory=dict)

    def add(self, strategy: str, words: Sequence[str], evidence: Sequence[float], values: Sequence[float]) -> None:
        """Take in one batch: `evidence` is standardised, `values` lie in 0..1."""
        statistics = self.statistics.setdefault(strategy, StandardisedReliability())
        statistics.update(words, evidence)
        self.values.setdefault(strategy, []).extend(values)
        self.standardised.setdefault(strategy, []).extend(
            statistics.score(word, value) for word, value in zip(words, evidence, strict=True)
        )

    def by_strategy(self) -> dict[str, list[float]]:
        """Every row of the table."""
        rows = {}
        for strategy, values in self.values.items():
            rows[strategy] = values
            rows[f"{strategy}, standardised per word"] = self.standardised[strategy]
        return rows


def judge_teacher(name: str, method: Xpm, images: Sequence[KnownImage], *, judge: Judge, batch: int) -> TeacherResult:
    """Label all images once; score and judge the labels under every strategy."""
    settings = method._xpm
    boxes: dict[str, list[list[tuple[str, Sequence[float]]]]] = {}
    scores, noises = Scores(), []
    own = _key(settings)
    for start in range(0, len(images), batch):
        some = [known.image for known in images[start : start + batch]]
        for image in some:
            method.vocabulary.add(image.words)
        scene = method._look([image.pixels for image in some])
        for assignment, context in product(ASSIGNMENTS, CONTEXTS):
            method._assign = find_assignment(assignment, block_iou=settings.block_iou)
            for voting in (False, True):
                asked = {"assignment": assignment, "assignment_context": context, "box_voting": voting}
                method._xpm = settings.model_copy(update=asked)
                key = _key(method._xpm)
                aligned = method._align(scene, some)
                boxes.setdefault(key, []).extend(_stored(method, scene, aligned))
                if key == own:
                    evidence = _evidence(method, scene, aligned)
                    noises += evidence.noise.tolist()
                    _add_scores(scores, method, evidence)
    eta = float(np.quantile(noises, settings.eta_quantile))  # measured once the whole stream was seen
    scores.values["noise"] = noise_reliability(torch.tensor(noises), eta=eta).tolist()
    judged = judge.judge(boxes[own])
    return TeacherResult(
        name=name,
        quality={
            strategy: {group: _quality(values, judged, group=group) for group in GROUPS}
            for strategy, values in scores.by_strategy().items()
        },
        right={key: _shares(judge.judge(of_key)) for key, of_key in boxes.items()},
    )


def _key(settings: XpmConfig) -> str:
    return f"{settings.assignment}, {settings.assignment_context}{', boxes voted' if settings.box_voting else ''}"


def _stored(method: Xpm, scene: Scene, aligned: Sequence[AlignedWords]) -> Iterator[list[tuple[str, Sequence[float]]]]:
    for item, geometry, view in zip(aligned, scene.geometries, method._boxes(scene, aligned), strict=True):
        yield list(zip(item.words, geometry.boxes_to_stored(view).cpu().tolist(), strict=True))


def _evidence(method: Xpm, scene: Scene, aligned: Sequence[AlignedWords]) -> TeacherEvidence:
    masks = method._engine.segment_regions(scene.features, method._boxes(scene, aligned))
    return method._evidence(scene, aligned, mask_logits=masks.logits, noise=mean_noise(masks.noise_log_variance))


def _add_scores(scores: Scores, method: Xpm, evidence: TeacherEvidence) -> None:
    words = evidence.words
    for name in EVIDENCE:
        values = evidence.class_evidence(name)
        scores.add(f"class score, {name}", words, values.tolist(), evidence_as_probability(name, values).tolist())
    pixels = pixel_score(evidence.mask_logits).tolist()
    certainty = method._dropout.certainty(
        evidence.embeddings, lambda some: method._engine.logits(some, method._vocabulary_embeddings())
    ).tolist()
    scores.add("pixel score", words, pixels, pixels)
    scores.add("dropout entropy", words, certainty, certainty)
    quiet = (-evidence.noise.log()).tolist()
    scores.add("noise", words, quiet, quiet)  # its values are made when eta is known


def _of_group(judged: Sequence[tuple[int, JudgedInstance]], group: str) -> list[tuple[int, JudgedInstance]]:
    return [pair for pair in judged if group == "all" or pair[1].group == group]


def _quality(
    values: Sequence[float], judged: Sequence[tuple[int, JudgedInstance]], *, group: str
) -> ReliabilityQuality:
    chosen = _of_group(judged, group)
    return judge_reliability([values[place] for place, _ in chosen], [item.right for _, item in chosen])


def _shares(judged: Sequence[tuple[int, JudgedInstance]]) -> dict[str, tuple[int, int]]:
    chosen = {group: _of_group(judged, group) for group in GROUPS}
    return {group: (sum(item.right for _, item in pairs), len(pairs)) for group, pairs in chosen.items()}


def measure(run: Path, *, images: int, batch: int, last_teachers: int = 0) -> list[TeacherResult]:
    """Judge the promoted teachers of a run, oldest first; with `last_teachers`, the first and so many of the last."""
    config = load_config(run / "config.yaml")
    config = config.model_copy(update={"folder": str(run)})  # wherever it was moved to
    known = known_images(config, number=images)
    judge = Judge(config, known)
    registry = RunFolder.of(config).registry_url(config)
    promoted = [entry for entry in PromotionLog(registry).entries() if entry.action == "promote"]
    if not promoted:
        raise DataError(f"{run} has no promoted teacher")
    if last_teachers and len(promoted) > last_teachers + 1:
        promoted = [promoted[0], *promoted[-last_teachers:]]
    results = []
    for entry in promoted:
        model = load_model(f"{registry}/checkpoints/{entry.checkpoint}", like=config)
        if not isinstance(model.method, Xpm):
            raise DataError(f"{entry.checkpoint} is of method {model.config.method}; this benchmark reads xpm's labels")
        model.method.network.eval()
        torch.manual_seed(0)
        with torch.inference_mode(), autocast(model.device, precision=config.labeler.precision):
            results.append(
                judge_teacher(f"{entry.number} (step {entry.step})", model.method, known, judge=judge, batch=batch)
            )
    return results


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def quality_table(results: Sequence[TeacherResult], *, figure: str) -> str:
    """Rows: strategies; columns: teachers, target words / all words."""
    rows = []
    for strategy in results[0].quality:
        of_teachers = [[getattr(result.quality[strategy][group], figure) for group in GROUPS] for result in results]
        rows.append([strategy, *(f"{_cell(target)} / {_cell(everything)}" for target, everything in of_teachers)])
    return table(["", *(f"teacher {result.name}" for result in results)], rows)


def assignment_table(results: Sequence[TeacherResult]) -> str:
    """Rows: assignment strategies; columns: teachers, share of right labels of target words / all words."""
    rows = []
    for key in results[0].right:
        shares = [[_percent(result.right[key][group]) for group in GROUPS] for result in results]
        rows.append([key, *(f"{target} / {everything}" for target, everything in shares)])
    return table(["", *(f"teacher {result.name}" for result in results)], rows)


def _percent(counts: tuple[int, int]) -> str:
    right, judged = counts
    return f"{100 * right / judged:.0f}% of {judged}" if judged else "-"


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print the tables; write everything, calibration curves included, if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with at least one promoted teacher")
    parser.add_argument("--images", type=int, default=400, help="captioned images")
    parser.add_argument("--batch", type=int, default=16, help="images labelled together")
    parser.add_argument("--last-teachers", type=int, default=0, help="only the first and so many of the last; 0: all")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    parser.add_argument("--curves", type=Path, help="draw the default's calibration curves into this picture")
    asked = parser.parse_args(given)
    torch.set_num_threads(asked.threads)
    results = measure(asked.run, images=asked.images, batch=asked.batch, last_teachers=asked.last_teachers)
    print("Each cell: target words / all words.\n")
    for figure, title in (
        ("auc", "AUC: a right label scores above a wrong one"),
        ("average_precision", "Average precision of right labels"),
        ("calibration_error", "Calibration error: mean |reliability - share right| over ten bins"),
    ):
        print(f"{title}\n\n{quality_table(results, figure=figure)}\n")
    print(f"Right labels by assignment and context\n\n{assignment_table(results)}")
    if asked.curves:
        teachers = {result.name: result.quality[DEFAULT_STRATEGY] for result in results}
        draw_curves(teachers, asked.curves, groups=GROUPS, strategy=DEFAULT_STRATEGY)
    if asked.json:
        asked.json.write_text(json.dumps(msgspec.to_builtins(results), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
