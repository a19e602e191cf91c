"""A detection's reliability is what a label's would be: by the strategy configured, at the detection's own box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_methods_of import IMAGES, small_method  # type: ignore[import-not-found]
from small_pictures import MakeXpm  # type: ignore[import-not-found]

from xpm_stream.methods.base import RatedDetector
from xpm_stream.methods.found_objects import FoundObjects
from xpm_stream.methods.teacher_student import TeacherStudent

PIXELS = [image.pixels for image in IMAGES]
WORDS = ["dog", "tree", "kite"]


def rated(method: TeacherStudent) -> list[FoundObjects]:
    assert isinstance(method, RatedDetector)
    return method.detect_rated(PIXELS, WORDS, score_threshold=0.05, max_detections=100)


def values(method: TeacherStudent) -> np.ndarray[Any, Any]:
    parts = [one.reliability for one in rated(method)]
    assert all(part is not None and len(part) > 0 for part in parts)
    found = np.concatenate(parts)
    assert ((found >= 0) & (found <= 1)).all()
    return found


@torch.inference_mode()
def at_boxes(method: TeacherStudent, words: list[str]) -> np.ndarray[Any, Any]:
    """Log probability of each detection's word among `words` and the background, its own box embedded."""
    found = rated(method)
    features, geometries = method._extract(PIXELS)
    boxes = [
        geometry.boxes_to_view(torch.from_numpy(one.boxes_xyxy))
        for geometry, one in zip(geometries, found, strict=True)
    ]
    embeddings = method._engine.embed_regions(features, boxes).embeddings
    logits = method._engine.logits(embeddings, method._embeddings.of(words, device=method.device))
    columns = [1 + words.index(word) for one in found for word in one.class_names]
    return logits.log_softmax(dim=1)[range(len(columns)), columns].numpy()


def test_detections_are_the_same_whether_they_are_rated(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    (plain,) = method.detect(PIXELS, [WORDS])
    for one, other in zip(plain, rated(method), strict=True):
        assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
        assert np.array_equal(one.scores, other.scores)
        assert (one.class_names, one.masks) == (other.class_names, other.masks)
        assert one.reliability is None


def test_class_score_is_the_words_probability_at_the_box_among_those_asked_for(make_xpm: MakeXpm) -> None:
    method = make_xpm(reliability="class_score", reliability_score="caption")
    assert values(method) == pytest.approx(np.exp(at_boxes(method, WORDS)), rel=0.01)


def test_class_score_over_the_vocabulary_counts_all_words_the_model_knows(make_xpm: MakeXpm) -> None:
    method = make_xpm(reliability="class_score", reliability_score="vocabulary")
    method.vocabulary.add([f"thing {number}" for number in range(50)])
    everything = list(dict.fromkeys([*method.vocabulary.words, *WORDS]))
    found = values(method)
    assert found == pytest.approx(np.exp(at_boxes(method, everything)), rel=0.01)
    assert (found < values(make_xpm(reliability="class_score", reliability_score="caption"))).all()


def test_a_plain_logit_is_weighed_against_the_background(make_xpm: MakeXpm) -> None:
    values(make_xpm(reliability="class_score", reliability_score="logit"))


def test_dropout_draws_the_same_each_time_and_leaves_torchs_draws_alone(make_xpm: MakeXpm) -> None:
    method = make_xpm(reliability="dropout_entropy")
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(8)
    first = values(method)
    torch.manual_seed(7)
    assert np.array_equal(values(method), first)
    assert torch.equal(torch.rand(1), expected)


def test_pixel_score_is_read_from_the_masks(make_xpm: MakeXpm) -> None:
    values(make_xpm(reliability="pixel_score"))


def test_noise_needs_the_eta_that_training_measured(make_xpm: MakeXpm) -> None:
    method = make_xpm(reliability="noise")
    assert [one.reliability for one in rated(method)] == [None] * len(PIXELS)
    method.load_state(method.state() | {"eta": {"frozen": 0.9}})
    values(method)


def test_standardised_reliability_needs_statistics_by_word_and_does_not_add_to_them(make_xpm: MakeXpm) -> None:
    method = make_xpm(reliability="standardised")
    assert [one.reliability for one in rated(method)] == [None] * len(PIXELS)
    statistics = {"dog": [10.0, -1.0, 2.0], "kite": [10.0, -3.0, 2.0]}
    method.load_state(method.state() | {"reliability": statistics})
    values(method)
    assert method.state()["reliability"] == statistics


def test_soft_teacher_shakes_the_boxes_the_same_way_each_time(tmp_path: Path) -> None:
    method = small_method("soft_teacher", tmp_path)
    assert np.array_equal(values(method), values(method))


@pytest.mark.parametrize("name", ["unbiased_teacher", "cap2det", "omp"])
def test_methods_whose_labels_have_no_reliability_give_none(tmp_path: Path, name: str) -> None:
    assert [one.reliability for one in rated(small_method(name, tmp_path))] == [None] * len(PIXELS)
