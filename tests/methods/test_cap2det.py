"""Cap2Det on small batches: image-level labels, losses, gradients, state."""

from __future__ import annotations

import json
from pathlib import Path

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

from xpm_stream.masks import MASK_BYTES
from xpm_stream.methods import find_method
from xpm_stream.methods.base import LabelledImage
from xpm_stream.methods.teacher_student import TeacherStudent
from xpm_stream.records import InstanceAnnotation, PseudoInstance, RegionProposal
from xpm_stream.stages.network_files import load_network, network_files
from xpm_stream.text.caption_nouns import CaptionNouns

LOSSES = {"image_labels", "refinement"}


def _words(labels: list[LabelledImage]) -> list[list[str]]:
    return [[instance.word for instance in one.annotation.instances] for one in labels]


def test_captions_name_the_classes_and_words_of_no_class_name_none(tmp_path: Path) -> None:
    labels = labelled(small_method("cap2det", tmp_path))
    assert _words(labels) == [["dog", "traffic light"], [], ["kite"]]
    for one in labels:
        assert len(one.annotation.proposals) > 0
        boxes = [proposal.box_xyxy for proposal in one.annotation.proposals]
        for instance in one.annotation.instances:
            assert 0 <= instance.score <= 1
            assert instance.reliability is None
            assert instance.box_xyxy in boxes


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ("base", [["dog"], [], []]),
        ("split", [["dog", "traffic light"], [], ["kite"]]),
        ("vocabulary", [["dog", "tree", "traffic light"], ["tree"], ["kite"]]),
    ],
)
def test_the_classes_sought_are_those_of_the_configuration(
    classes: str, expected: list[list[str]], tmp_path: Path
) -> None:
    assert _words(labelled(small_method("cap2det", tmp_path, classes=classes))) == expected


def test_captions_that_name_no_class_stand_for_the_nearest_one_if_asked_to(tmp_path: Path) -> None:
    method = small_method("cap2det", tmp_path, label_inference="nearest")
    images = [caption_image(0, words=["puppy"]), caption_image(1, words=["truck", "dog"]), caption_image(2, words=[])]
    # What is named counts alone, and no noun names nothing.
    assert _words(labelled(method, images)) == [["dog"], ["dog"], []]


def test_captions_name_classes_however_the_class_list_spells_them(tmp_path: Path) -> None:
    listed = ["dog", "aerosol can/spray can", "Traffic_Lights"]
    method = find_method("cap2det")(small_config("cap2det", tmp_path, classes="base"), base_classes=listed)
    assert isinstance(method, TeacherStudent)
    images = [caption_image(0, words=CaptionNouns.load().find("Two aerosol cans and a dog below traffic lights."))]
    assert _words(labelled(method, images)) == [["aerosol can/spray can", "dog", "Traffic_Lights"]]


@pytest.mark.parametrize("bf16", [False, True])
def test_every_batch_composition_runs_and_every_parameter_gets_a_gradient(bf16: bool, tmp_path: Path) -> None:
    method = small_method("cap2det", tmp_path)
    some, nothing = labelled(method), without_instances()
    for captions, base in [(some, BASE), (some, []), ([], BASE), (nothing, BASE), (nothing, []), (some[1:2], BASE[1:])]:
        batch = method.collate(captions, base, rng=rng())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            losses = method.losses(batch)
        assert set(losses) >= LOSSES if captions else not LOSSES & set(losses)
        assert all(loss.dtype == torch.float32 and bool(torch.isfinite(loss)) for loss in losses.values())
        method.network.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        assert [key for key, p in method.network.named_parameters() if p.grad is None] == []


def test_images_without_a_label_teach_nothing(tmp_path: Path) -> None:
    method = small_method("cap2det", tmp_path)
    some = labelled(method)
    losses = method.losses(method.collate([some[1]], [], rng=rng()))
    assert {name: float(loss.detach()) for name, loss in losses.items()} == dict.fromkeys(LOSSES, 0.0)
    method.network.eval()  # one image's statistics stay out of the other's features
    values = []
    for images in ([some[2], *without_instances(IMAGES[2:])], [some[2]]):
        batch = method.collate(images, [], rng=rng())
        values.append(method.caption_losses(method._engine.extract(batch.images), batch.pseudo))
    for name in LOSSES:
        assert float(values[0][name].detach()) == pytest.approx(float(values[1][name].detach()), rel=0.01)


def test_its_losses_reach_backbone_and_embedding_head_only(tmp_path: Path) -> None:
    method = small_method("cap2det", tmp_path)
    losses = method.losses(method.collate(labelled(method), BASE[:1], rng=rng()))
    reached = {"backbone", "embedding_head.hidden1", "embedding_head.hidden2", "embedding_head.embedding"}
    for name in LOSSES:
        assert moved_by(method.network, losses[name]) == reached


def test_the_losses_are_those_of_the_equations_on_the_proposals_of_the_label(tmp_path: Path) -> None:
    method = small_method("cap2det", tmp_path)
    image = caption_image(5, words=["cup"], size_hw=(64, 64))
    boxes = [(2.0, 2.0, 30.0, 30.0), (2.0, 2.0, 30.0, 28.0), (34.0, 34.0, 60.0, 60.0)]
    annotation = InstanceAnnotation(
        instances=[PseudoInstance(word="cup", box_xyxy=boxes[2], mask_bits=bytes(MASK_BYTES), score=0.5)],
        proposals=[RegionProposal(box_xyxy=box, background_score=0.5) for box in boxes],
    )
    batch = method.collate(with_labels([image], [annotation]), [], rng=rng())
    losses = method.losses(batch)
    features = method._engine.extract(batch.images)
    embeddings = method._engine.embed_regions(features, [batch.pseudo[0].proposals_xyxy]).embeddings
    rows = method._embeddings.of([*BASE_CLASSES, *TARGET_CLASSES], device=embeddings.device)
    logits = method._engine.logits(embeddings, rows).detach().double().numpy()
    e = np.exp(logits[:, 1:])
    scores = e / e.sum(axis=1, keepdims=True) * e / e.sum(axis=0, keepdims=True)
    cup, p = BASE_CLASSES.index("cup"), scores.sum(axis=0)
    image_loss = -np.log(p[cup]) - sum(np.log(1 - value) for index, value in enumerate(p) if index != cup)
    assert float(losses["image_labels"].detach()) == pytest.approx(image_loss, rel=1e-3)
    best = int(scores[:, cup].argmax())
    near = {0: [0, 1], 1: [0, 1], 2: [2]}[best]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    costs = [
        -np.log(probability[row, 1 + cup]) if row in near else -0.2 * np.log(probability[row, 0]) for row in range(3)
    ]
    assert float(losses["refinement"].detach()) == pytest.approx(scores[best, cup] * np.mean(costs), rel=1e-3)


def test_a_few_steps_learn_the_image_labels(tmp_path: Path) -> None:
    method = small_method("cap2det", tmp_path)
    batch = method.collate(labelled(method), [], rng=rng())
    optimiser = torch.optim.AdamW(method.network.parameters(), lr=1e-3)
    seen = []
    for _ in range(12):
        losses = method.losses(batch)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        seen.append(float(losses["image_labels"].detach()))
    assert seen[-1] < 0.7 * seen[0]


def test_weights_and_state_go_through_a_checkpoint(tmp_path: Path) -> None:
    method = small_method("cap2det", tmp_path)
    method.note_words([["tree", "kite"], ["tree"]])
    files = network_files(method, config=small_config("cap2det", tmp_path), base_classes=BASE_CLASSES)
    other: TeacherStudent = small_method("cap2det", tmp_path)
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.add_(1.0)
    load_network(other, files, name="one")
    assert json.dumps(other.state()) == json.dumps(method.state())
    assert other.label(IMAGES) == method.label(IMAGES)
    load_network(small_method("xpm", tmp_path), files, name="one")  # any region method may go on from it
