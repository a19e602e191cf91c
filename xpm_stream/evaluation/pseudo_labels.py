"""How many pseudo labels are right, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pycocotools import mask as coco_mask

from xpm_stream.evaluation.truth import GroundTruth, boxes_xywh, xyxy_to_xywh
from xpm_stream.records import InstanceAnnotation, PseudoInstance

WordGroup = Literal["base", "target", "other"]
_GROUPS: Final[tuple[WordGroup, ...]] = ("base", "target", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedInstance:
    """A pseudo instance and whether it is right."""

    image_id: int
    instance: PseudoInstance
    class_name: str  # the annotated class its word stands for
    group: WordGroup
    present: bool  # the class is somewhere in the image: the caption did not lie
    iou: float  # best box IoU with an instance of the class, 0 where it is not present
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShare:
    """Pseudo instances of a word or group: how many, how many of a class that is there, how many right."""

    count: int
    present: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Share that is right, 0..1; None without instances."""
        return self.right / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabelAccuracy:
    """Accuracy by word and group, and the judged instances for reliability statistics."""

    by_group: Mapping[WordGroup, LabelShare]
    by_word: Mapping[str, LabelShare]
    unknown_words: Mapping[str, int]  # words that are no annotated class: nothing can be said of them
    judged: Sequence[JudgedInstance]


def pseudo_label_accuracy(
    annotations: Mapping[int, InstanceAnnotation],
    *,
    truth: GroundTruth,
    base: Sequence[str],
    target: Sequence[str],
    synonyms: Mapping[str, str] | None = None,
    iou_threshold: float = 0.5,
) -> PseudoLabelAccuracy:
    """Judge pseudo instances by image id: right = the word's class is in the image and a box of it overlaps enough.

    `synonyms` says which class a word stands for ("couch" -> "sofa"); a word that is a class name stands for itself.
    `other` holds annotated classes of neither split. Overlap with a crowd is measured as COCO does, over the pseudo
    box alone.

    Raises:
        BaseSetError: an image is not part of `truth`.
    """
    group_of: dict[str, WordGroup] = dict.fromkeys(truth.category_ids, "other")
    group_of.update(dict.fromkeys(truth.known_classes(base), "base"))
    group_of.update(dict.fromkeys(truth.known_classes(target), "target"))
    judged: list[JudgedInstance] = []
    unknown: dict[str, int] = {}
    for image_id, annotation in annotations.items():
        for instance in annotation.instances:
            class_name = _class_of(instance.word, truth=truth, synonyms=synonyms or {})
            if class_name is None:
                unknown[instance.word] = unknown.get(instance.word, 0) + 1
                continue
            iou, present = _best_overlap(instance, truth=truth, image_id=image_id, class_name=class_name)
            judged.append(
                JudgedInstance(
                    image_id=image_id,
                    instance=instance,
                    class_name=class_name,
                    group=group_of[class_name],
                    present=present,
                    iou=iou,
                    right=present and iou >= iou_threshold,
                )
            )
    words = sorted({item.instance.word for item in judged})
    return PseudoLabelAccuracy(
        by_group={group: _share([item for item in judged if item.group == group]) for group in _GROUPS},
        by_word={word: _share([item for item in judged if item.instance.word == word]) for word in words},
        unknown_words=dict(sorted(unknown.items(), key=lambda pair: (-pair[1], pair[0]))),
        judged=judged,
    )


def _class_of(word: str, *, truth: GroundTruth, synonyms: Mapping[str, str]) -> str | None:
    if word in truth.category_ids:
        return word
    stands_for = synonyms.get(word)
    return stands_for if stands_for in truth.category_ids else None


def _best_overlap(
    instance: PseudoInstance, *, truth: GroundTruth, image_id: int, class_name: str
) -> tuple[float, bool]:
    objects = truth.of_classes(image_id, [class_name])
    if not objects:
        return 0.0, False
    crowds = [int(item.get("iscrowd", 0)) for item in objects]
    ious = coco_mask.iou(xyxy_to_xywh([instance.box_xyxy]), boxes_xywh(objects), crowds)
    return float(np.max(ious)), True


def _share(items: Sequence[JudgedInstance]) -> LabelShare:
    return LabelShare(
        count=len(items), present=sum(item.present for item in items), right=sum(item.right for item in items)
    )
