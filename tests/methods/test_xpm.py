"""XPM end to end on small batches: labels, losses, gradients, state, and every switch."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from small_pictures import MakeXpm, base_image, caption_image  # type: ignore[import-not-found]

from xpm_stream.errors import TrainingError
from xpm_stream.masks import MASK_BYTES
from xpm_stream.methods.base import CaptionImage, LabelledImage
from xpm_stream.methods.region_batch import RegionBatch
from xpm_stream.methods.xpm import Xpm
from xpm_stream.records import InstanceAnnotation, PseudoInstance

IMAGES = [
    caption_image(0, words=["dog", "tree", "traffic light"]),
    caption_image(1, words=[], size_hw=(90, 40)),
    caption_image(2, words=["kite"], size_hw=(64, 64)),
]
BASE = [base_image([(5, 5, 30, 30), (30, 10, 55, 50)]), base_image([])]


def _labelled(method: Xpm, images: Sequence[CaptionImage] = IMAGES) -> list[LabelledImage]:
    annotations = method.label(images)
    return [
        LabelledImage(sample=image.sample, pixels=image.pixels, words=image.words, annotation=annotation)
        for image, annotation in zip(images, annotations, strict=True)
    ]


def _without_instances(images: Sequence[CaptionImage]) -> list[LabelledImage]:
    nothing = InstanceAnnotation(instances=[])
    return [LabelledImage(sample=i.sample, pixels=i.pixels, words=i.words, annotation=nothing) for i in images]


CONTEXTS = ("vocabulary", "caption", "logit")


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_every_word_gets_one_region_of_its_own_inside_the_stored_image(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    annotations = method.label(IMAGES)
    assert [len(annotation.instances) for annotation in annotations] == [3, 0, 1]
    for image, annotation in zip(IMAGES, annotations, strict=True):
        height, width = image.pixels.shape[:2]
        assert [instance.word for instance in annotation.instances] == image.words
        for instance in annotation.instances:
            x0, y0, x1, y1 = instance.box_xyxy
            assert 0 <= x0 < x1 <= width + 1e-3
            assert 0 <= y0 < y1 <= height + 1e-3
            assert len(instance.mask_bits) == MASK_BYTES
            assert 0 <= instance.score <= 1
            assert instance.reliability is not None
            assert 0 <= instance.reliability <= 1


@pytest.mark.parametrize(
    "switches",
    [
        *({"assignment": a, "assignment_context": c} for a in ("argmax", "exclusive") for c in CONTEXTS),
        *({"reliability": r, "reliability_score": c} for r in ("standardised", "class_score") for c in CONTEXTS),
        *({"reliability": r} for r in ("noise", "pixel_score", "dropout_entropy")),
    ],
    ids=lambda switches: "-".join(switches.values()),
)
def test_every_labelling_switch_gives_complete_labels(make_xpm: MakeXpm, switches: dict[str, str]) -> None:
    (annotation, _, _) = make_xpm(**switches).label(IMAGES)
    assert len(annotation.instances) == 3
    assert all(0 <= (instance.reliability or 0) <= 1 for instance in annotation.instances)


def test_the_plain_score_of_eq_2_takes_the_region_with_the_highest_cosine(make_xpm: MakeXpm) -> None:
    method = make_xpm(assignment="argmax", assignment_context="logit", box_voting=False)
    image = caption_image(0, words=["dog", "tree"], size_hw=(64, 64))
    (annotation,) = method.label([image])
    with torch.inference_mode():
        scene = method._look([image.pixels])
        table = method._embeddings.of(["dog", "tree"], device=method.device)
        cosine = torch.nn.functional.normalize(scene.regions.embeddings) @ torch.nn.functional.normalize(table).T
        best = scene.regions.refined_xyxy[0][cosine.argmax(dim=0)]
        expected = scene.geometries[0].boxes_to_stored(best)
    found = torch.tensor([instance.box_xyxy for instance in annotation.instances])
    torch.testing.assert_close(found, expected.float(), atol=0.05, rtol=0)


def test_voted_boxes_are_in_the_labels_unless_switched_off(make_xpm: MakeXpm) -> None:
    plain, voted = (make_xpm(box_voting=on).label(IMAGES)[0] for on in (False, True))
    assert [one.word for one in plain.instances] == [one.word for one in voted.instances]
    assert [one.box_xyxy for one in plain.instances] != [one.box_xyxy for one in voted.instances]


def test_labels_do_not_depend_on_the_batch_they_were_made_in(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    images = [caption_image(ordinal, words=["dog", "tree"], size_hw=(64, 64)) for ordinal in range(3)]
    together = method.label(images)
    alone = [method.label([image])[0] for image in images]
    for ours, theirs in zip(together, alone, strict=True):
        for first, second in zip(ours.instances, theirs.instances, strict=True):
            assert first.box_xyxy == pytest.approx(second.box_xyxy, abs=0.05)
            assert first.score == pytest.approx(second.score, rel=1e-2)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("weighting", ["none", "pixel_score", "stochastic", "robust"])
def test_every_batch_composition_runs_and_every_parameter_gets_a_gradient(
    make_xpm: MakeXpm, weighting: str, bf16: bool
) -> None:
    method = make_xpm(weighting=weighting)
    labelled = _labelled(method)
    compositions = [
        (labelled, BASE),
        (labelled, []),
        ([], BASE),
        ([], BASE[1:]),
        (_without_instances(IMAGES), BASE),
        (_without_instances(IMAGES), []),
        (labelled[:1], BASE[1:]),
    ]
    for some_labelled, some_base in compositions:
        batch = method.collate(some_labelled, some_base, rng=_rng())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            losses = method.losses(batch)
        assert ("cross_modal" in losses) == bool(some_labelled)
        assert ("classification" in losses) == bool(some_base)
        assert all(loss.dtype == torch.float32 for loss in losses.values())
        method.network.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        assert [name for name, p in method.network.named_parameters() if p.grad is None] == []


def test_an_image_without_instances_contributes_nothing(make_xpm: MakeXpm) -> None:
    method = make_xpm(weighting="none")
    some = _labelled(method)[:1]
    losses = method.losses(method.collate(_without_instances(IMAGES[:2]), [], rng=_rng()))
    assert {name: float(loss.detach()) for name, loss in losses.items()} == {"cross_modal": 0.0, "pseudo_mask": 0.0}
    method.network.eval()
    assert float(method.losses(method.collate(some, [], rng=_rng()))["cross_modal"].detach()) > 0


def test_a_loss_that_is_not_finite_stops_the_step(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    batch = method.collate(_labelled(method), BASE, rng=_rng())
    with torch.no_grad():
        next(method.network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        method.losses(batch)


def test_the_robust_weighting_trains_the_noise_head_through_the_mask_loss_only(make_xpm: MakeXpm) -> None:
    method = make_xpm(weighting="robust")
    losses = method.losses(method.collate(_labelled(method), [], rng=_rng()))
    noise = [p for name, p in method.network.named_parameters() if "mask_head.noise" in name]
    through_words = torch.autograd.grad(losses["cross_modal"], noise, retain_graph=True, allow_unused=True)
    through_masks = torch.autograd.grad(losses["pseudo_mask"], noise)
    assert all(gradient is None or (gradient == 0).all() for gradient in through_words)
    assert any((gradient != 0).any() for gradient in through_masks)
    seen = method.observations()
    assert len(seen["alpha"]) == len(seen["noise"]) == 4
    assert all(0 < alpha <= 1 for alpha in seen["alpha"])
    assert method.observations() == {}


def test_without_noise_in_the_mask_loss_it_is_eq_5_and_repeats_exactly(make_xpm: MakeXpm) -> None:
    for weighting, noisy in (("none", False), ("class_score", False), ("stochastic", True), ("robust", True)):
        method = make_xpm(weighting=weighting)
        batch = method.collate(_labelled(method), [], rng=_rng())
        first, second = (float(method.losses(batch)["pseudo_mask"].detach()) for _ in range(2))
        assert (first == pytest.approx(second, rel=1e-4)) is not noisy


def test_a_fixed_eta_scales_the_cross_modal_loss(make_xpm: MakeXpm) -> None:
    values = []
    for weighting in ("none", "robust"):
        method = make_xpm(weighting=weighting, eta=1e-3)
        batch = method.collate(_labelled(method), [], rng=_rng())
        values.append(float(method.losses(batch)["cross_modal"].detach()))
    assert values[1] < 0.01 * values[0]  # the noise head starts near e, far above eta


def test_new_caption_words_do_not_change_the_loss_on_base_images(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    batch = method.collate([], BASE, rng=_rng())
    torch.manual_seed(1)
    before = float(method.losses(batch)["classification"].detach())
    method.vocabulary.add(["puppy", "terrier", "zebra"])
    torch.manual_seed(1)
    assert float(method.losses(batch)["classification"].detach()) == pytest.approx(before, rel=1e-4)


def test_word_indices_survive_the_state_and_grow_on_from_there(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    method.losses(method.collate(_labelled(method), BASE, rng=_rng()))
    state = json.loads(json.dumps(method.state()))
    restored = make_xpm()
    restored.load_state(state)
    assert list(restored.vocabulary.words) == list(method.vocabulary.words)
    assert restored.vocabulary.words[:3] == ["dog", "car", "cup"]
    restored.label([caption_image(9, words=["zebra"])])
    assert restored.vocabulary.index("zebra") == len(method.vocabulary)


def test_a_word_the_full_vocabulary_refuses_gets_no_label_but_its_mask_still_teaches(make_xpm: MakeXpm) -> None:
    method = make_xpm(max_vocabulary=4)
    (annotation, _, _) = method.label(IMAGES)
    assert [instance.word for instance in annotation.instances] == ["dog", "tree"]
    wide = make_xpm()
    losses = method.losses(method.collate(_labelled(wide), [], rng=_rng()))
    assert all(float(loss.detach()) > 0 for loss in losses.values())


def test_after_a_change_of_teacher_labelling_goes_on(make_xpm: MakeXpm) -> None:
    teacher, student = make_xpm(), make_xpm()
    teacher.label(IMAGES)
    teacher.network.load_state_dict(student.network.state_dict())
    teacher.load_state(json.loads(json.dumps(student.state())))
    teacher.teacher_changed()
    assert [len(annotation.instances) for annotation in teacher.label(IMAGES)] == [3, 0, 1]


def test_mirrored_views_mirror_box_and_mask_together(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    bits = np.zeros((28, 28), dtype=np.uint8)
    bits[:, :9] = 1
    instance = PseudoInstance(
        word="dog", box_xyxy=(0.0, 0.0, 20.0, 40.0), mask_bits=np.packbits(bits).tobytes(), score=1.0
    )
    image = caption_image(0, words=["dog"], size_hw=(64, 64))
    labelled = LabelledImage(
        sample=image.sample, pixels=image.pixels, words=["dog"], annotation=InstanceAnnotation(instances=[instance])
    )
    seen = set()
    for seed in range(12):
        batch = method.collate([labelled], [], rng=np.random.default_rng(seed))
        assert isinstance(batch, RegionBatch)
        (target,) = batch.pseudo
        mirrored = bool(target.boxes_xyxy[0, 0] > 0)
        seen.add(mirrored)
        expected = bits[:, ::-1] if mirrored else bits
        np.testing.assert_array_equal(target.masks[0].numpy(), expected)
        view = batch.images.pixels[0].flip(2) if mirrored else batch.images.pixels[0]
        plain = torch.from_numpy(image.pixels).permute(2, 0, 1)[0].float()
        assert float(torch.corrcoef(torch.stack([view[0].flatten(), plain.flatten()]))[0, 1]) > 0.99
    assert seen == {True, False}


def test_crowds_are_not_trained_as_single_objects(make_xpm: MakeXpm) -> None:
    batch = make_xpm().collate([], [base_image([(5, 5, 30, 30)], crowd=True)], rng=_rng())
    assert isinstance(batch, RegionBatch)
    assert batch.truth[0].boxes_xyxy.shape == (0, 4)


def test_detection_answers_each_vocabulary_for_each_image(make_xpm: MakeXpm) -> None:
    method = make_xpm()
    pixels = [image.pixels for image in IMAGES]
    answers = method.detect(pixels, [["dog", "kite"], ["cup"]])
    assert [len(answer) for answer in answers] == [3, 3]
    for answer, names in zip(answers, (["dog", "kite"], ["cup"]), strict=True):
        for found, image in zip(answer, pixels, strict=True):
            assert set(found.class_names) <= set(names)
            assert all(mask["size"] == list(image.shape[:2]) for mask in found.masks)
            assert (np.diff(found.scores) <= 0).all()
    assert method.detect([], [["dog"]]) == [[]]
    assert [boxes.shape[1] for boxes in method.propose_boxes(pixels)] == [4, 4, 4]


def test_noise_maps_are_variances_on_the_grid_of_each_box(make_xpm: MakeXpm) -> None:
    maps = make_xpm().noise_maps([IMAGES[0].pixels, IMAGES[2].pixels], [[(0, 0, 20, 20), (10, 10, 40, 40)], []])
    assert [noise.shape for noise in maps] == [(2, 28, 28), (0, 28, 28)]
    assert maps[0].min() > 0
    assert maps[0].mean() == pytest.approx(np.e, rel=0.1)  # bias 1 of the log variance


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("bf16", [False, True])
def test_it_labels_and_trains_on_cuda(make_xpm: MakeXpm, bf16: bool) -> None:
    method = make_xpm(weighting="robust")
    method.network.cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
        losses = method.losses(method.collate(_labelled(method), BASE, rng=_rng()))
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.dtype == torch.float32 for loss in losses.values())
