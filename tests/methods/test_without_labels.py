"""OVR, SB, BA-RPN, OMP: what each changes, and that all train, detect and come back from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_pictures import BASE_CLASSES, base_image, caption_image  # type: ignore[import-not-found]
from torch.nn import functional

from xpm_stream.config.loading import parse_config
from xpm_stream.engines.torchvision_rcnn import TorchvisionRcnn
from xpm_stream.errors import ConfigError
from xpm_stream.learning.grounding import Alone
from xpm_stream.methods import METHODS, WITHOUT_LABELER, find_method, require_labeler
from xpm_stream.methods.base import CaptionGrounder, InstanceMethod
from xpm_stream.methods.caption_grounding import sliding_windows
from xpm_stream.methods.teacher_student import TeacherStudent
from xpm_stream.stages.network_files import load_network, network_files

NAMES = sorted(WITHOUT_LABELER)
BASE = [base_image([(5, 5, 30, 30), (30, 10, 55, 50)]), base_image([])]
IMAGES = [
    caption_image(0, words=["dog", "tree"]),
    caption_image(1, words=["cup"], size_hw=(90, 40)),
    caption_image(2, words=["kite", "bird", "car"], size_hw=(64, 64)),
]
Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    def build(name: str, *, seed: int = 0, **sections: Any) -> TeacherStudent:
        torch.manual_seed(seed)
        model = {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16}
        tree = {
            "method": name,
            "text": {"cache": str(tmp_path_factory.getbasetemp() / "embeddings")},
            "model": {**model, **sections.pop("model", {})},
            "evaluation": {"score_threshold": 0.0},
            **sections,
        }
        method = find_method(name)(parse_config(tree, source="test"), base_classes=BASE_CLASSES)
        assert isinstance(method, TeacherStudent)
        return method

    return build


def _engine(method: TeacherStudent) -> TorchvisionRcnn:
    engine = method._engine
    assert isinstance(engine, TorchvisionRcnn)
    return engine


def _losses(method: TeacherStudent) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return method.losses(method.collate([], BASE, rng=np.random.default_rng(0)))


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
@pytest.mark.parametrize("name", NAMES)
def test_base_training_gives_every_parameter_a_gradient(make: Make, name: str, backbone: str) -> None:
    method = make(name, model={"backbone": backbone})
    losses = _losses(method)
    assert all(loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert [key for key, parameter in method.network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_brings_the_same_detections_back(make: Make, name: str) -> None:
    method, other = make(name), make(name, seed=1)
    files = network_files(method, config=method._config, base_classes=BASE_CLASSES)
    pictures, words = [image.pixels for image in IMAGES], [["dog", "kite"], ["cup", "umbrella", "tree"]]
    before = method.detect(pictures, words)
    load_network(other, files, name="x")
    after = other.detect(pictures, words)
    assert len(before) == 2
    for ours, theirs in zip(before, after, strict=True):
        assert len(ours) == 3
        for first, second in zip(ours, theirs, strict=True):
            assert len(first.scores) > 0
            np.testing.assert_allclose(first.scores, second.scores, rtol=1e-5)
            np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_without_labels_says_so(make: Make, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' has no labeler"):
        make(name).label(IMAGES)
    with pytest.raises(ConfigError, match=r"xpm-stream pretrain.*xpm-stream teach"):
        require_labeler(name)
    assert name in METHODS


def test_other_methods_have_a_labeler() -> None:
    require_labeler("xpm")
    require_labeler("my.package:Method")


def test_ovr_insists_on_captions_before_or_beside_base_training(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.init: pretraining"):
        make("ovr").load_starting_weights()
    make("ovr", teacher={"init": "pretraining"}).load_starting_weights()
    make("ovr", teacher={"grounding_weight": 1.0}).load_starting_weights()
    make("sb").load_starting_weights()


def test_the_background_of_sb_is_scored_like_a_class_of_norm_one(make: Make) -> None:
    method = make("sb")
    engine = _engine(method)
    embeddings = torch.randn(5, method._embeddings.dimension)
    assert engine.background is not None
    features = engine.extract(method.collate_captions(IMAGES, rng=np.random.default_rng(0)).images)
    got = engine.background(features, [], embeddings)
    cosine = embeddings[:, 0] / embeddings.norm(dim=1)
    torch.testing.assert_close(got, method._config.model.logit_scale * cosine)
    assert engine.background(features, [], embeddings[:0]).shape == (0,)


def test_the_background_of_ba_rpn_is_the_proposal_networks(make: Make) -> None:
    method = make("ba_rpn")
    engine = _engine(method)
    scorer = engine.network.rpn.head.inner.cls_logits
    torch.nn.init.zeros_(scorer.weight)
    with torch.no_grad():
        scorer.bias.copy_(torch.arange(len(scorer.bias)).float())  # the best anchor scores 8 everywhere
    features = engine.extract(method.collate_captions(IMAGES, rng=np.random.default_rng(0)).images)
    boxes = [torch.tensor([[4.0, 4, 40, 30]]), torch.zeros(0, 4), torch.tensor([[0.0, 0, 60, 60], [8, 8, 20, 24]])]
    highest = float(len(scorer.bias) - 1)
    torch.testing.assert_close(engine.objectness(features, boxes), torch.full((3,), highest))
    assert engine.background is not None
    torch.testing.assert_close(engine.background(features, boxes, torch.zeros(3, 4)), torch.full((3,), -highest))
    # What the proposal network calls an object, the head calls background less often.
    sure = [found.scores.sum() for found in method.detect([i.pixels for i in IMAGES], [["dog"]])[0]]
    with torch.no_grad():
        scorer.bias.sub_(20.0)
    unsure = [found.scores.sum() for found in method.detect([i.pixels for i in IMAGES], [["dog"]])[0]]
    assert all(more > less for more, less in zip(sure, unsure, strict=True))


def test_a_background_of_ones_own_rules_classification_and_detection(make: Make) -> None:
    method = make("sb")
    plain = float(_losses(method)["classification"].detach())
    _engine(method).background = lambda features, boxes, embeddings: torch.full((len(embeddings),), 50.0)
    assert float(_losses(method)["classification"].detach()) != pytest.approx(plain)
    found = method.detect([IMAGES[0].pixels], [["dog"]])[0][0]
    assert len(found.scores) == 0 or found.scores.max() < 1e-6


def test_a_cell_is_embedded_as_a_region_that_looks_like_it_all_over(make: Make) -> None:
    head = _engine(make("omp")).network.embedding_head
    pooled = torch.randn(2, 96, 7, 7)
    cells = head.of_cells(pooled)
    for row, column in ((0, 0), (3, 6)):
        alike = pooled[:, :, row : row + 1, column : column + 1].expand(2, 96, 7, 7)
        torch.testing.assert_close(cells[:, row, column], head(alike)[0], rtol=1e-3, atol=1e-4)


def test_the_mask_prior_of_omp_is_the_centred_response_to_the_class(make: Make) -> None:
    method = make("omp")
    engine = _engine(method)
    engine.network.eval()
    batch = method.collate_captions(IMAGES[:1], rng=np.random.default_rng(0))
    features = engine.extract(batch.images)
    boxes, words = [torch.tensor([[4.0, 4, 40, 30], [10, 2, 60, 50]])], torch.randn(2, method._embeddings.dimension)
    plain = engine.segment_regions(features, boxes).logits
    with_prior = engine.segment_regions(features, boxes, class_embeddings=words).logits
    cells = engine.network.embedding_head.of_cells(engine._pool(engine.network.box_pool, features, boxes))
    response = 20 * functional.cosine_similarity(cells, words[:, None, None], dim=3)
    expected = functional.interpolate(
        (response - response.mean((1, 2), True))[:, None], scale_factor=4, mode="bilinear"
    )
    torch.testing.assert_close(with_prior - plain, expected[:, 0], rtol=1e-3, atol=1e-4)
    engine.mask_prior_weight = 0.0
    torch.testing.assert_close(engine.segment_regions(features, boxes, class_embeddings=words).logits, plain)


def test_omp_trains_masks_with_the_prior_of_the_true_class(make: Make) -> None:
    method = make("omp")
    with_prior = float(_losses(method)["mask"].detach())
    _engine(method).mask_prior_weight = 0.0
    assert float(_losses(method)["mask"].detach()) != pytest.approx(with_prior, rel=1e-4)


@pytest.mark.parametrize("regions", ["windows", "proposals"])
@pytest.mark.parametrize("name", ["xpm", "ovr"])
def test_captions_are_grounded_in_windows_and_in_proposals(make: Make, name: str, regions: Any) -> None:
    method = make(name)
    assert isinstance(method, CaptionGrounder)
    assert isinstance(method, InstanceMethod)
    batch = method.collate_captions(IMAGES, rng=np.random.default_rng(0))
    matching = method.ground(batch, regions=regions, company=Alone())
    assert set(matching.losses) == {
        f"{way}_choose_{what}" for way in ("words_to_regions", "regions_to_words") for what in ("caption", "image")
    }
    assert matching.chance == pytest.approx(1 / 3)
    torch.stack(list(matching.losses.values())).sum().backward()
    taught = {key.split(".")[0] for key, p in method.network.named_parameters() if p.grad is not None}
    assert taught == {"backbone", "embedding_head"}


def test_a_frozen_embedding_layer_stays(make: Make) -> None:
    method = make("ovr", teacher={"grounding_weight": 1.0})
    method.freeze_embedding()
    torch.stack(list(_losses(method).values())).sum().backward()
    assert [key for key, p in method.network.named_parameters() if p.grad is None] == [
        "embedding_head.embedding.weight",
        "embedding_head.embedding.bias",
    ]


def test_windows_cover_the_image_and_overlap_by_half() -> None:
    halves = sliding_windows((40, 80), fractions=[0.5])
    assert len(halves) == 9
    assert halves[0].tolist() == [0, 0, 40, 20]
    assert halves[1].tolist() == [20, 0, 60, 20]
    assert halves[-1].tolist() == [40, 20, 80, 40]
    assert len(sliding_windows((40, 80), fractions=[0.25, 0.5, 1.0])) == 49 + 9 + 1


def test_no_more_windows_than_asked_for_and_no_image_without_words(make: Make) -> None:
    method = make("ovr", grounding={"max_regions": 7})
    batch = method.collate_captions(IMAGES, rng=np.random.default_rng(0))
    assert [len(part) for part in batch.windows_xyxy] == [7, 7, 7]
    with pytest.raises(ValueError, match="no word"):
        method.collate_captions([caption_image(0, words=[])], rng=np.random.default_rng(0))
