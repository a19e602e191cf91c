"""The switches of XPM that set paper, released code and this system apart, on a small network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_pictures import BASE_CLASSES, base_image, caption_image  # type: ignore[import-not-found]

from xpm_stream.config.loading import parse_config
from xpm_stream.config.variants import VARIANTS
from xpm_stream.methods.base import LabelledImage
from xpm_stream.methods.xpm import Xpm
from xpm_stream.records import InstanceAnnotation

IMAGES = [
    caption_image(0, words=["dog", "tree", "traffic light"]),
    caption_image(1, words=[], size_hw=(90, 40)),
    caption_image(2, words=["kite"], size_hw=(64, 64)),
]
BASE = [base_image([(5, 5, 30, 30), (30, 10, 55, 50)])]
MODEL = {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16}


def _make(
    cache: Path,
    *,
    base_classes: list[str] = BASE_CLASSES,
    text: dict[str, object] | None = None,
    promotion: dict[str, object] | None = None,
    **xpm: object,
) -> Xpm:
    torch.manual_seed(0)
    tree = {"text": {"cache": str(cache)} | (text or {}), "model": MODEL, "xpm": xpm, "promotion": promotion or {}}
    return Xpm(parse_config(tree, source="test"), base_classes=base_classes)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of embeddings for all tests here."""
    return tmp_path_factory.getbasetemp() / "embeddings"


def _labelled(method: Xpm) -> list[LabelledImage]:
    return [
        LabelledImage(sample=image.sample, pixels=image.pixels, words=image.words, annotation=annotation)
        for image, annotation in zip(IMAGES, method.label(IMAGES), strict=True)
    ]


def _losses(method: Xpm, *, base: bool = True) -> dict[str, torch.Tensor]:
    batch = method.collate(_labelled(method), BASE if base else [], rng=np.random.default_rng(0))
    return method.losses(batch)


def _backward(method: Xpm, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | None]:
    method.network.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    return {name: parameter.grad for name, parameter in method.network.named_parameters()}


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_each_variant_labels_and_learns(cache: Path, variant: str) -> None:
    method = _make(cache, variant=variant)
    losses = _losses(method)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert float(losses["cross_modal"].detach()) > 0
    gradients = _backward(method, losses)
    assert gradients["embedding_head.embedding.weight"] is not None
    assert gradients["mask_head.noise.weight"] is not None


def test_a_frozen_trunk_learns_from_base_truth_alone_and_no_more_once_labels_come(cache: Path) -> None:
    method = _make(cache, frozen_trunk=True)
    alone = method.collate([], BASE, rng=np.random.default_rng(0))
    before = _backward(method, method.losses(alone))  # the first teacher's training
    assert all(gradient is not None for gradient in before.values())
    statistics = {name: value.clone() for name, value in method.network.named_buffers() if "backbone" in name}
    after = _backward(method, _losses(method))
    trunk = [name for name in after if name.startswith(("backbone", "rpn"))]
    assert trunk
    assert all(after[name] is None for name in trunk)
    assert all(gradient is not None for name, gradient in after.items() if name not in trunk)
    now = dict(method.network.named_buffers())
    assert statistics
    assert all(torch.equal(now[name], value) for name, value in statistics.items())
    _backward(method, _losses(method, base=False))  # a batch without base images finds its gradients too


@pytest.mark.parametrize("shapes", [False, True])
def test_the_noise_head_shapes_the_mask_feature_only_if_asked(cache: Path, shapes: bool) -> None:
    torch.manual_seed(0)
    tree = {"text": {"cache": str(cache)}, "model": MODEL | {"noise_shapes_masks": shapes}}
    method = Xpm(parse_config(tree, source="test"), base_classes=BASE_CLASSES)
    head = method._engine.network.mask_head  # type: ignore[attr-defined]
    _, noise = head(torch.randn(2, head.convs[0].in_channels, 14, 14))
    (gradient,) = torch.autograd.grad(noise.sum(), [head.upsample.weight], allow_unused=True)
    assert (gradient is not None) is shapes


def test_b_o_is_the_proposal_or_regressed_once_or_twice(cache: Path) -> None:
    methods = {times: _make(cache, box_refinements=times, assignment="argmax") for times in (0, 1, 2)}
    for method in methods.values():  # make regression visible: an untrained one hardly moves a box
        torch.manual_seed(3)
        torch.nn.init.normal_(method._engine.network.embedding_head.box_deltas.weight, std=0.3)  # type: ignore[attr-defined]
    plain, once, twice = (methods[times].label(IMAGES[:1])[0].instances[0] for times in (0, 1, 2))
    engine = methods[0]._engine
    with torch.inference_mode():
        features, (geometry,) = methods[0]._extract([IMAGES[0].pixels])
        box = geometry.boxes_to_view(torch.tensor([plain.box_xyxy]))
        for expected in (once, twice):
            (box,) = engine.embed_regions(features, [box]).refined_xyxy
            assert geometry.boxes_to_stored(box)[0].tolist() == pytest.approx(expected.box_xyxy, abs=0.05)
    assert plain.box_xyxy != once.box_xyxy != twice.box_xyxy


def test_with_proposals_the_student_learns_at_more_regions_and_alpha_is_of_the_image(cache: Path) -> None:
    method = _make(cache, variant="released", eta=0.5)
    losses = _losses(method)
    assert float(losses["cross_modal"].detach()) > 0
    alphas = method.observations()["alpha"]
    assert len(alphas) >= 4  # b_o of four words, and the proposals that match them
    assert len(set(np.round(alphas, 6))) == 2  # two images have instances


def test_sampled_negatives_estimate_the_whole_softmax_and_leave_small_vocabularies_alone(cache: Path) -> None:
    nouns = [f"{first}{second}" for first in "bcdfghjklm" for second in ("ag", "en", "il", "ox", "um", "ard")]
    values: dict[int, list[float]] = {}
    for number in (0, 20, 1000):
        method = _make(cache, text={"sampled_negatives": number}, weighting="none")
        method.vocabulary.add(nouns)
        batch = method.collate(_labelled(method), [], rng=np.random.default_rng(0))
        method.network.train()
        values[number] = [float(method.losses(batch)["cross_modal"].detach()) for _ in range(8)]
    assert values[1000] == pytest.approx(values[0], rel=1e-4)
    assert np.std(values[20]) > 10 * np.std(values[0])
    assert np.mean(values[20]) == pytest.approx(np.mean(values[0]), rel=0.1)


@pytest.mark.parametrize("weighting", ["class_score", "dropout_entropy", "robust"])
def test_every_weighting_goes_with_sampled_negatives(cache: Path, weighting: str) -> None:
    method = _make(cache, text={"sampled_negatives": 3}, weighting=weighting)
    method.vocabulary.add(["puppy", "terrier", "zebra", "sofa", "lamp", "boot", "rocket"])
    losses = _losses(method)
    assert 0 < float(losses["cross_modal"].detach()) < 100
    alphas = method.observations()["alpha"]
    assert len(alphas) == 4
    assert all(0 <= alpha <= 1 for alpha in alphas)


def test_a_base_class_and_the_noun_that_captions_name_it_by_are_one_word(cache: Path) -> None:
    method = _make(cache, base_classes=["Traffic_Light", "hair dryer", "gizmotron", "dog", "Dogs"])
    assert method.vocabulary.words == ["traffic light", "hair drier", "gizmotron", "dog"]
    (annotation, _, _) = method.label(IMAGES)
    assert isinstance(annotation, InstanceAnnotation)
    assert method.vocabulary.words == ["traffic light", "hair drier", "gizmotron", "dog", "tree", "kite"]


def test_a_noun_enters_the_vocabulary_only_when_it_was_seen_often_enough(cache: Path) -> None:
    method = _make(cache, text={"min_count": 2})
    first, _, _ = method.label(IMAGES)
    second, _, _ = method.label(IMAGES)
    assert [instance.word for instance in first.instances] == ["dog"]
    assert sorted(instance.word for instance in second.instances) == ["dog", "traffic light", "tree"]


def test_eta_is_measured_from_the_noise_seen_and_held_between_promotions(cache: Path) -> None:
    method = _make(cache, weighting="robust", eta_quantile=0.0, promotion={"every_steps": 3})
    noise = method._engine.network.mask_head.noise  # type: ignore[attr-defined]
    etas, lowest = [], []
    for step in range(7):
        torch.nn.init.constant_(noise.bias, 1.0 - step)  # the student becomes surer of its masks
        _losses(method)
        lowest.append(min(method.observations()["noise"]))
        etas.append(method._eta.eta)
    assert etas[:3] == pytest.approx(lowest[:3])  # follows the window until the first interval is over
    assert etas[3:5] == pytest.approx([lowest[2]] * 2)  # held, though noise fell
    assert etas[5] == pytest.approx(lowest[5])  # measured anew
    assert etas[6] == pytest.approx(lowest[5])
    restored = _make(cache, weighting="robust")
    restored.load_state(method.state())
    assert restored._eta.eta == pytest.approx(lowest[5])


def test_alpha_is_low_where_the_noise_is_high(cache: Path) -> None:
    method = _make(cache, weighting="robust", eta=0.5)
    torch.nn.init.normal_(method._engine.network.mask_head.noise.weight, std=2.0)  # type: ignore[attr-defined]
    _losses(method)
    seen = method.observations()
    assert seen["alpha"] == pytest.approx([min(1.0, 0.5 / noise) for noise in seen["noise"]], rel=1e-5)
    assert len(set(seen["noise"])) == 4
