"""Soft Teacher and Unbiased Teacher on small batches: labels, losses, gradients, views, state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_methods_of import (  # type: ignore[import-not-found]
    BASE,
    IMAGES,
    TARGET_CLASSES,
    labelled,
    moved_by,
    rng,
    small_config,
    small_method,
    with_labels,
    without_instances,
)
from small_pictures import BASE_CLASSES, caption_image  # type: ignore[import-not-found]

from xpm_stream.errors import MessageError
from xpm_stream.label_queue import decode, encode
from xpm_stream.learning.box_jitter import RELIABLE
from xpm_stream.masks import MASK_BYTES
from xpm_stream.methods.region_batch import RegionBatch
from xpm_stream.methods.teacher_student import TeacherStudent
from xpm_stream.records import (
    ImageInline,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    RegionProposal,
    TeacherVersion,
)
from xpm_stream.stages.network_files import load_network, network_files

# An untrained teacher is sure of nothing: these thresholds let some of its detections through.
LOW: dict[str, dict[str, Any]] = {
    "soft_teacher": {"score_threshold": 0.2, "box_score_threshold": 0.1, "max_box_deviation": 10.0},
    "unbiased_teacher": {"score_threshold": 0.2},
}
LOSSES = {
    "soft_teacher": {"pseudo_rpn_objectness", "pseudo_rpn_box", "pseudo_classification", "pseudo_box", "pseudo_mask"},
    "unbiased_teacher": {"pseudo_rpn_objectness", "pseudo_classification", "pseudo_mask"},
}
both = pytest.mark.parametrize("name", list(LOW))
LEFT, RIGHT = (4.0, 4.0, 28.0, 44.0), (36.0, 6.0, 62.0, 40.0)
SQUARE = caption_image(7, words=["tree"], size_hw=(64, 64))


def _low(name: str, folder: Path, **section: Any) -> TeacherStudent:
    return small_method(name, folder, **{**LOW[name], **section})


def _instance(word: str, box: tuple[float, float, float, float], *, score: float = 0.95, trust: float | None = 0.9):
    return PseudoInstance(word=word, box_xyxy=box, mask_bits=b"\xff" * MASK_BYTES, score=score, reliability=trust)


def _proposals(*scored: tuple[tuple[float, float, float, float], float]) -> list[RegionProposal]:
    return [RegionProposal(box_xyxy=box, background_score=score) for box, score in scored]


def _pseudo_losses(method: TeacherStudent, annotation: InstanceAnnotation) -> dict[str, torch.Tensor]:
    return method.losses(method.collate(with_labels([SQUARE], [annotation]), [], rng=rng()))


@both
def test_labels_are_confident_detections_of_known_classes_with_the_proposals(name: str, tmp_path: Path) -> None:
    method = _low(name, tmp_path)
    threshold = min(LOW[name].get("box_score_threshold", 1.0), LOW[name]["score_threshold"])
    found = [one.annotation for one in labelled(method)]
    assert sum(len(annotation.instances) for annotation in found) > 2
    for image, annotation in zip(IMAGES, found, strict=True):
        height, width = image.pixels.shape[:2]
        for instance in annotation.instances:
            assert instance.word in BASE_CLASSES + TARGET_CLASSES
            assert threshold < instance.score <= 1
            assert (instance.reliability is not None) == (name == "soft_teacher")
        assert 0 < len(annotation.proposals) <= 10
        for proposal in annotation.proposals:
            x0, y0, x1, y1 = proposal.box_xyxy
            assert 0 <= x0 < x1 <= width + 1e-3
            assert 0 <= y0 < y1 <= height + 1e-3
            assert 0 <= proposal.background_score <= 1


@both
def test_captions_choose_nothing(name: str, tmp_path: Path) -> None:
    method = _low(name, tmp_path)
    pixels = IMAGES[0]
    other = caption_image(0, words=["cup", "zebra"])
    np.testing.assert_array_equal(pixels.pixels, other.pixels)
    assert method.label([pixels]) == method.label([other])


@both
@pytest.mark.parametrize(
    ("classes", "allowed"),
    [("base", BASE_CLASSES), ("split", BASE_CLASSES + TARGET_CLASSES), ("vocabulary", [*BASE_CLASSES, "tree", "kite"])],
)
def test_the_known_classes_are_those_of_the_configuration(
    name: str, classes: str, allowed: list[str], tmp_path: Path
) -> None:
    method = _low(name, tmp_path, classes=classes, score_threshold=0.0)
    method.vocabulary.add(["tree", "kite"])
    words = {one.word for one in labelled(method, [caption_image(4, words=["kite"])])[0].annotation.instances}
    assert words == set(allowed)


@both
def test_nothing_is_labelled_where_the_teacher_is_unsure_but_its_proposals_travel(name: str, tmp_path: Path) -> None:
    sure = dict.fromkeys(LOW[name].keys() & {"score_threshold", "box_score_threshold"}, 0.9999)
    method = _low(name, tmp_path, **sure)
    assert all(not one.annotation.instances for one in labelled(method))
    assert all(one.annotation.proposals for one in labelled(method))


@both
def test_a_label_survives_the_queue_and_the_same_sample_gets_the_same_label(name: str, tmp_path: Path) -> None:
    method = _low(name, tmp_path)
    (annotation, *_) = method.label(IMAGES)
    message = LabelMessage(
        method=name,
        sample=IMAGES[0].sample,
        teacher=TeacherVersion(1, 0, 0),
        image=ImageInline(b"x"),
        image_size_wh=(70, 50),
        words=IMAGES[0].words,
        annotation=annotation,
        labelled_at_s=1.0,
    )
    sent = decode(encode(message)).annotation
    assert [one.word for one in sent.instances] == [one.word for one in annotation.instances]
    assert sent.proposals == annotation.proposals  # float32 all along
    assert method.label(IMAGES)[0] == annotation


@both
@pytest.mark.parametrize("bf16", [False, True])
def test_every_batch_composition_runs_and_every_parameter_gets_a_gradient(
    name: str, bf16: bool, tmp_path: Path
) -> None:
    method = _low(name, tmp_path)
    some = labelled(method)
    nothing = without_instances()
    for captions, base in [(some, BASE), (some, []), ([], BASE), (nothing, BASE), (nothing, []), (some[:1], BASE[1:])]:
        batch = method.collate(captions, base, rng=rng())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            losses = method.losses(batch)
        # The other losses are those on base images.
        of_captions = set(losses) - {"rpn_objectness", "rpn_box", "classification", "box", "mask"}
        assert of_captions == (LOSSES[name] if captions else set())
        assert all(loss.dtype == torch.float32 and bool(torch.isfinite(loss)) for loss in losses.values())
        method.network.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        assert [key for key, p in method.network.named_parameters() if p.grad is None] == []


CLASSES = {"backbone", "embedding_head.hidden1", "embedding_head.hidden2", "embedding_head.embedding"}
REACHED = {
    "pseudo_rpn_objectness": {"backbone", "rpn.conv", "rpn.cls_logits"},
    "pseudo_rpn_box": {"backbone", "rpn.conv", "rpn.bbox_pred"},
    "pseudo_classification": CLASSES,
    "pseudo_box": CLASSES - {"embedding_head.embedding"} | {"embedding_head.box_deltas"},
    "pseudo_mask": {"backbone", "mask_head.convs", "mask_head.upsample", "mask_head.mask"},
}


@both
def test_each_loss_reaches_its_head_and_nothing_else(name: str, tmp_path: Path) -> None:
    method = _low(name, tmp_path)
    annotation = InstanceAnnotation(
        instances=[_instance("kite", LEFT)], proposals=_proposals((LEFT, 0.1), (RIGHT, 0.9), ((6, 6, 28, 40), 0.3))
    )
    # A base image keeps the losses free of the zeros that stand in for it.
    losses = method.losses(method.collate(with_labels([SQUARE], [annotation]), BASE[:1], rng=rng()))
    for loss in LOSSES[name]:
        assert moved_by(method.network, losses[loss]) == REACHED[loss], loss


@both
def test_the_instance_and_what_overlaps_it_are_of_its_class_and_the_rest_is_background(
    name: str, tmp_path: Path
) -> None:
    method = _low(name, tmp_path)
    assert hasattr(method, "classify")
    near = (6.0, 6.0, 28.0, 44.0)
    annotation = InstanceAnnotation(
        instances=[_instance("kite", LEFT), _instance("of another split", RIGHT)],
        proposals=_proposals((RIGHT, 0.25), (near, 0.5), ((40.0, 46.0, 60.0, 62.0), 0.75)),
    )
    batch = method.collate(with_labels([SQUARE], [annotation]), [], rng=rng())
    method.network.eval()
    regions = method.classify(method._engine.extract(batch.images), batch.pseudo)
    kite = 1 + len(BASE_CLASSES) + TARGET_CLASSES.index("kite")
    # Unknown here, so neither a class nor background: the second instance and the proposal on it are left out.
    assert regions.targets.tolist() == [kite, kite, 0]
    assert regions.background_scores.tolist() == [0.0, 0.5, 0.75]
    assert regions.logits.shape == (3, 1 + len(BASE_CLASSES) + len(TARGET_CLASSES))


@both
def test_the_student_sees_strong_views_of_caption_images_and_plain_ones_of_the_base_set(
    name: str, tmp_path: Path
) -> None:
    batches = {}
    for strong in (True, False):
        method = _low(name, tmp_path, strong_views=strong)
        batch = method.collate(without_instances([SQUARE] * 4), BASE[:1] * 4, rng=rng())
        assert isinstance(batch, RegionBatch)
        batches[strong] = batch.images.pixels
    plain = {batches[False][index].numpy().tobytes() for index in range(4, 8)}
    assert len(plain) <= 2  # mirrored or not
    assert len({batches[True][index].numpy().tobytes() for index in range(4, 8)}) == 4
    of_base = {strong: {view.numpy().tobytes() for view in pixels[:4]} for strong, pixels in batches.items()}
    assert all(len(views) <= 2 for views in of_base.values())


@both
def test_weights_and_state_go_through_a_checkpoint(name: str, tmp_path: Path) -> None:
    method = _low(name, tmp_path)
    method.note_words([["tree", "kite"], ["tree"]])
    config = small_config(name, tmp_path, **LOW[name])
    files = network_files(method, config=config, base_classes=BASE_CLASSES)
    other = _low(name, tmp_path)
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.add_(1.0)
    load_network(other, files, name="one")
    assert json.dumps(other.state()) == json.dumps(method.state())
    assert other.label(IMAGES) == method.label(IMAGES)
    xpm = small_method("xpm", tmp_path)
    load_network(xpm, files, name="one")  # any region method may go on from it


@both
def test_the_weights_scale_the_losses_on_captions_only(name: str, tmp_path: Path) -> None:
    annotation = InstanceAnnotation(instances=[_instance("kite", LEFT)], proposals=_proposals((RIGHT, 0.9)))
    values = []
    for weight in (1.0, 3.0):
        method = _low(name, tmp_path, weight=weight, strong_views=False)
        torch.manual_seed(3)
        values.append(_pseudo_losses(method, annotation))
    for loss in ("pseudo_classification", "pseudo_mask"):
        assert float(values[1][loss].detach()) == pytest.approx(3 * float(values[0][loss].detach()), rel=1e-3)


def test_unsure_detections_teach_boxes_but_neither_classes_nor_masks(tmp_path: Path) -> None:
    method = small_method("soft_teacher", tmp_path)
    shifted = (6.0, 6.0, 30.0, 44.0)
    unsure = InstanceAnnotation(instances=[_instance("kite", LEFT, score=0.6)], proposals=_proposals((shifted, 0.0)))
    losses = _pseudo_losses(method, unsure)
    assert float(losses["pseudo_box"].detach()) > 0
    # The only region is one the teacher does not take for background at all.
    assert float(losses["pseudo_classification"].detach()) == 0
    assert float(losses["pseudo_mask"].detach()) == 0
    assert float(losses["pseudo_rpn_box"].detach()) == 0
    scattered = InstanceAnnotation(
        instances=[_instance("kite", LEFT, trust=RELIABLE - 0.01)], proposals=_proposals((shifted, 0.0))
    )
    losses = _pseudo_losses(method, scattered)
    assert float(losses["pseudo_box"].detach()) == 0
    assert float(losses["pseudo_classification"].detach()) > 0
    assert float(losses["pseudo_mask"].detach()) > 0


def test_background_the_teacher_doubts_moves_soft_teacher_less(tmp_path: Path) -> None:
    method = small_method("soft_teacher", tmp_path)
    gradients = []
    for doubted in (0.9, 0.05):
        both_sides = InstanceAnnotation(instances=[], proposals=_proposals((LEFT, doubted), (RIGHT, 0.9)))
        batch = method.collate(with_labels([SQUARE], [both_sides]), [], rng=rng())
        method.network.eval()
        regions = method.classify(method._engine.extract(batch.images), batch.pseudo)
        gradients.append(regions.background_scores / regions.background_scores.sum())
    assert gradients[0].tolist() == pytest.approx([0.5, 0.5])
    assert gradients[1].tolist() == pytest.approx([0.05 / 0.95, 0.9 / 0.95])


def test_soft_teacher_refuses_labels_without_box_reliability(tmp_path: Path) -> None:
    method = small_method("soft_teacher", tmp_path)
    foreign = InstanceAnnotation(instances=[_instance("kite", LEFT, trust=None)])
    with pytest.raises(MessageError, match="its own queue"):
        _pseudo_losses(method, foreign)


def test_the_reliability_of_a_box_is_how_little_its_refined_copies_scatter(tmp_path: Path) -> None:
    """An untrained head hardly moves a box, so the copies scatter as they were shaken: more with a larger scale."""
    means = []
    for scale in (0.01, 0.1, 0.5):
        method = _low("soft_teacher", tmp_path, jitter_scale=scale, max_box_deviation=0.02)
        trust = [i.reliability or 0.0 for one in labelled(method) for i in one.annotation.instances]
        means.append(float(np.mean(trust)))
        # Sides shaken uniformly by a share s of the box's side have a deviation of s / sqrt(3).
        assert means[-1] == pytest.approx(0.02 / (0.02 + scale / np.sqrt(3)), rel=0.35)
    assert means == sorted(means, reverse=True)
    assert method.observations()["reliability"]


def test_unbiased_teacher_uses_the_focal_loss_of_its_configuration(tmp_path: Path) -> None:
    annotation = InstanceAnnotation(instances=[_instance("kite", LEFT)], proposals=_proposals((RIGHT, 0.9)))
    values = []
    for gamma in (0.0, 1.5, 3.0):
        method = small_method("unbiased_teacher", tmp_path, focal_gamma=gamma, strong_views=False)
        values.append(float(_pseudo_losses(method, annotation)["pseudo_classification"].detach()))
    assert values[0] > values[1] > values[2] > 0


def test_unbiased_teacher_has_its_focal_loss_on_base_images_too(tmp_path: Path) -> None:
    values = []
    for gamma in (0.0, 3.0):
        method = small_method("unbiased_teacher", tmp_path, focal_gamma=gamma)
        torch.manual_seed(5)
        values.append(method.losses(method.collate([], BASE, rng=rng())))
    assert float(values[1]["classification"].detach()) < 0.8 * float(values[0]["classification"].detach())
    assert float(values[1]["mask"].detach()) == pytest.approx(float(values[0]["mask"].detach()), rel=1e-3)
