"""Small pictures of boxes: annotations and detections to be judged, 40 x 60 pixels."""

from __future__ import annotations

import numpy as np

from xpm_stream.evaluation.detector import DetectionResult
from xpm_stream.masks import encode_rle, paste_roi_mask

IDS = {"kite": 3, "dog": 7, "umbrella": 9, "cat": 21, "person": 1}


def rectangle(box, height=40, width=60):
    return encode_rle(paste_roi_mask(np.ones((28, 28)), box, height=height, width=width))


def annotation(number, image_id, name, box, *, iscrowd=0):
    x0, y0, x1, y1 = box
    return {
        "id": number,
        "image_id": image_id,
        "category_id": IDS[name],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": iscrowd,
        "segmentation": rectangle(box),
    }


def document(annotations, *, images=(1, 2, 3)):
    return {
        "images": [{"id": image_id, "height": 40, "width": 60} for image_id in images],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in IDS.items()],
    }


def result(image_id, found):
    """found: (name, box, score) triples."""
    return DetectionResult(
        image_id=image_id,
        boxes_xyxy=np.array([box for _, box, _ in found], dtype=float).reshape(-1, 4),
        scores=np.array([score for _, _, score in found], dtype=float),
        class_names=[name for name, _, _ in found],
        masks=[rectangle(box) for _, box, _ in found],
    )
