"""Networks judged on held-out images, and labels judged by the truth of the images they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from benchmarks.quality.results import LabelQuality, Snapshot
from benchmarks.synthetic_truth import Judge, KnownImage
from xpm_stream.config import RunConfig
from xpm_stream.data.splits import load_split
from xpm_stream.evaluation.pseudo_labels import JudgedInstance
from xpm_stream.evaluation.reliability import roc_auc
from xpm_stream.methods.base import InstanceMethod, Method
from xpm_stream.records import Annotation, InstanceAnnotation
from xpm_stream.stages.devices import choose_device
from xpm_stream.stages.evaluating import judge_model
from xpm_stream.stages.loaded_model import LoadedModel

GROUPS: Final = ("base", "target", "other", "all")


def judge_network(method: Method, *, config: RunConfig, step: int) -> Snapshot:
    """Evaluate on the held-out set, constrained and generalized."""
    assert isinstance(method, InstanceMethod)
    assert config.data.val is not None
    model = LoadedModel("trial", config, method, choose_device("cpu", threads=1))
    report = judge_model(model, annotations=config.data.val, split_file=config.data.split.file)
    targets = load_split(config.data.split.file).target
    ap = {name: scores.mask.ap50 for name, scores in report.generalized.by_class.items()}
    return Snapshot(
        step=step,
        scores=report.model_scores(checkpoint="trial", step=step),
        by_class={name: None if value is None else 100 * value for name, value in ap.items()},
        targets=[name for name in targets if name in ap],
    )


class LabelJudge:
    """Collects the labels of one teacher until it is replaced."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._images: list[KnownImage] = []
        self._labels: list[InstanceAnnotation] = []

    def add(self, images: Sequence[KnownImage], annotations: Sequence[Annotation]) -> None:
        """Take in one batch; annotations that hold no instances by word are left out."""
        for image, annotation in zip(images, annotations, strict=True):
            if isinstance(annotation, InstanceAnnotation):
                self._images.append(image)
                self._labels.append(annotation)

    def close(self, *, teacher: int, step: int) -> LabelQuality | None:
        """What the labels since the last call were worth; none without labels."""
        if not self._labels:
            return None
        flat = [item for annotation in self._labels for item in annotation.instances]
        judged = Judge(self._config, self._images).judge(
            [[(item.word, item.box_xyxy) for item in annotation.instances] for annotation in self._labels]
        )
        self._images, self._labels = [], []
        right, auc = {}, {}
        for group in GROUPS:
            some = [(place, item) for place, item in judged if group in ("all", item.group)]
            right[group] = (sum(item.right for _, item in some), len(some))
            auc[group] = _auc([(flat[place].reliability, item) for place, item in some])
        return LabelQuality(teacher=teacher, step=step, right=right, auc=auc)


def _auc(pairs: Sequence[tuple[float | None, JudgedInstance]]) -> float | None:
    if any(reliability is None for reliability, _ in pairs):
        return None
    return roc_auc([cast(float, value) for value, _ in pairs], [item.right for _, item in pairs])
