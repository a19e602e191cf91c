"""What was found in an image, and how it becomes COCO JSON, `supervision.Detections`, or a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xpm_stream.errors import DataError
from xpm_stream.masks import CocoRle, decode_rle, rle_area

if TYPE_CHECKING:
    import supervision

Pixels = npt.NDArray[np.uint8]  # H x W x 3, RGB
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """N objects found in one image, best first; N may be 0."""

    boxes: Floats  # [N, 4] xyxy, pixels of the image
    scores: Floats  # [N], 0..1: probability of the word among the words asked for and the background
    words: list[str]  # N
    reliability: Floats | None  # [N], 0..1; none where the checkpoint has none to give (docs/predicting.md)
    rles: list[CocoRle]  # N masks of the whole image, as COCO compresses them
    size_wh: tuple[int, int]  # pixels of the image, upright
    asked: tuple[str, ...]  # all words asked for
    model: str  # the checkpoint
    name: str | None  # path or URL of the image; none of pixels
    read_pixels: Callable[[], Pixels]  # reads the image again

    def __len__(self) -> int:
        """Return N."""
        return len(self.scores)

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """Masks, bool [N, H, W], decoded at each call: a hundred masks of a photograph take a hundred megabytes."""
        width, height = self.size_wh
        masks = np.zeros((len(self), height, width), dtype=np.bool_)
        for mask, rle in zip(masks, self.rles, strict=True):
            mask[:] = decode_rle(rle)
        return masks

    def above(self, score: float) -> Prediction:
        """Return what was found with a higher score."""
        kept = np.flatnonzero(self.scores > score)
        return replace(
            self,
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            words=[self.words[index] for index in kept],
            reliability=None if self.reliability is None else self.reliability[kept],
            rles=[self.rles[index] for index in kept],
        )

    def to_coco(self, image_id: int = 1, *, categories: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
        """Return COCO results: `image_id`, `category_id`, `bbox` (xywh), `score`, `segmentation` (RLE), `reliability`.

        Args:
            image_id: of the image in the annotations these results are to be compared with.
            categories: category id of each word; none: the place of the word among those asked for, from 1.

        Raises:
            DataError: a word has no category id.
        """
        ids = {word: number for number, word in enumerate(self.asked, start=1)} if categories is None else categories
        missing = sorted(set(self.words) - set(ids))
        if missing:
            raise DataError(f"categories gives no id for {', '.join(map(repr, missing))}")
        found = []
        for index, (box, word, rle) in enumerate(zip(self.boxes.tolist(), self.words, self.rles, strict=True)):
            x0, y0, x1, y1 = box
            found.append(
                {
                    "image_id": image_id,
                    "category_id": ids[word],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(self.scores[index]),
                    "segmentation": {"size": list(rle["size"]), "counts": rle["counts"]},
                }
            )
            if self.reliability is not None:
                found[-1]["reliability"] = float(self.reliability[index])
        return found

    def to_supervision(self) -> supervision.Detections:
        """Return `supervision.Detections`: boxes, masks, scores, class ids by place among the words asked for.

        `data` holds `class_name`, and `reliability` where there is one.

        Raises:
            DataError: the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise DataError("to_supervision() needs the package supervision: pip install supervision") from error
        data: dict[str, Any] = {"class_name": np.array(self.words, dtype=np.str_)}
        if self.reliability is not None:
            data["reliability"] = self.reliability
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=np.array([self.asked.index(word) for word in self.words], dtype=np.int64),
            data=data,
        )

    def draw(self, *, score_threshold: float = 0.0, long_side: int | None = None) -> Image.Image:
        """Return the image with masks, boxes, and words with their scores; a word always has the same colour.

        Args:
            score_threshold: what scores no higher is left out.
            long_side: pixels of the picture's long side; none: the image's own, and at least 640, so that words can
                be read.

        Raises:
            DataError: the image is not where it was any more.
        """
        from xpm_stream.stages.drawing import draw_prediction

        return draw_prediction(self.above(score_threshold), long_side=long_side)


class Predictions(list[Prediction]):
    """What was found in several images, in their order."""

    def to_coco(
        self, image_ids: Sequence[int] | None = None, *, categories: Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """Return the COCO results of all images; without `image_ids` they are numbered from 1.

        Raises:
            DataError: ids and images differ in number, or a word has no category id.
        """
        ids = range(1, len(self) + 1) if image_ids is None else image_ids
        if len(ids) != len(self):
            raise DataError(f"{len(ids)} image ids do not belong to {len(self)} images: give one for each")
        return [
            one
            for image_id, found in zip(ids, self, strict=True)
            for one in found.to_coco(image_id, categories=categories)
        ]

    def to_coco_dataset(self, image_ids: Sequence[int] | None = None) -> dict[str, Any]:
        """Return a whole COCO data set, as `pycocotools.coco.COCO` loads it: images, categories, annotations.

        The annotations are the results of `to_coco` with `id`, `area` and `iscrowd`.

        Raises:
            DataError: ids and images differ in number.
        """
        words = list(dict.fromkeys(word for found in self for word in found.asked))
        categories = {word: number for number, word in enumerate(words, start=1)}
        results = self.to_coco(image_ids, categories=categories)
        ids = range(1, len(self) + 1) if image_ids is None else image_ids
        return {
            "info": {"description": f"found by {', '.join(sorted({found.model for found in self}))}"},
            "images": [
                {"id": image_id, "file_name": found.name or "", "width": found.size_wh[0], "height": found.size_wh[1]}
                for image_id, found in zip(ids, self, strict=True)
            ],
            "categories": [{"id": number, "name": word} for word, number in categories.items()],
            "annotations": [
                {"id": number, **result, "area": rle_area(result["segmentation"]), "iscrowd": 0}
                for number, result in enumerate(results, start=1)
            ],
        }
