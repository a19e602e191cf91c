"""The default engine: batches of different sizes, empty images, both precisions, starting weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from xpm_stream.config.network_sections import ModelConfig
from xpm_stream.engines.base import DetectionLimits, GroundTruth, ImageBatch
from xpm_stream.engines.torchvision_rcnn import TorchvisionRcnn
from xpm_stream.errors import ConfigError

SMALL = ModelConfig(backbone="small", image_size=64, max_image_size=96, num_proposals=12, num_rois=16)
CLASSES = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
NO_OBJECT = GroundTruth(
    boxes_xyxy=torch.zeros(0, 4), class_indices=torch.zeros(0, dtype=torch.int64), masks=torch.zeros(0, 64, 64)
)


def _engine(config: ModelConfig = SMALL) -> TorchvisionRcnn:
    torch.manual_seed(0)
    return TorchvisionRcnn(config, text_dimension=32)


def _images() -> ImageBatch:
    pixels = torch.randn(2, 3, 64, 96)
    pixels[0, :, :, 64:] = 0
    return ImageBatch(pixels=pixels, sizes_hw=[(64, 64), (50, 90)])


def _truth() -> GroundTruth:
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 5:30, 5:30] = masks[1, 30:60, 20:60] = 1
    boxes = torch.tensor([[5.0, 5, 30, 30], [20, 30, 60, 60]])
    return GroundTruth(boxes_xyxy=boxes, class_indices=torch.tensor([1, 3]), masks=masks)


def test_proposals_and_refined_boxes_stay_inside_each_image() -> None:
    engine = _engine()
    engine.network.eval()
    with torch.no_grad():
        features = engine.extract(_images())
        proposals = engine.propose(features)
        regions = engine.embed_regions(features, proposals)
    for boxes in (proposals, regions.refined_xyxy):
        for part, (height, width) in zip(boxes, [(64, 64), (50, 90)], strict=True):
            assert 0 < len(part) <= 12
            assert (part >= 0).all()
            assert (part[:, 2] <= width).all()
            assert (part[:, 3] <= height).all()
    assert regions.embeddings.shape == (sum(map(len, proposals)), 32)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_losses_are_float32_and_every_parameter_gets_a_gradient(backbone: str, bf16: bool) -> None:
    engine = _engine(SMALL.model_copy(update={"backbone": backbone}))
    engine.network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        features = engine.extract(_images())
        losses = engine.detection_losses(features, [_truth(), NO_OBJECT], class_embeddings=CLASSES)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, parameter in engine.network.named_parameters() if parameter.grad is None] == []


def test_a_batch_of_images_without_objects_trains_background_only() -> None:
    engine = _engine()
    engine.network.train()
    features = engine.extract(_images())
    losses = engine.detection_losses(features, [NO_OBJECT, NO_OBJECT], class_embeddings=CLASSES)
    assert float(losses["classification"].detach()) > 0
    assert float(losses["box"].detach()) == float(losses["mask"].detach()) == 0
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, parameter in engine.network.named_parameters() if parameter.grad is None] == []


def test_ground_truth_never_trains_the_noise_head_and_noise_never_shapes_the_masks() -> None:
    engine = _engine()
    engine.network.train()
    features = engine.extract(_images())
    losses = engine.detection_losses(features, [_truth(), _truth()], class_embeddings=CLASSES)
    head = engine.network.mask_head
    (gradient,) = torch.autograd.grad(losses["mask"], head.noise.weight, retain_graph=True)
    assert (gradient == 0).all()
    masks = engine.segment_regions(features, [_truth().boxes_xyxy, torch.zeros(0, 4)])
    (gradient,) = torch.autograd.grad(
        masks.noise_log_variance.sum(), head.upsample.weight, allow_unused=True, retain_graph=True
    )
    assert gradient is None


def test_a_few_steps_on_one_image_find_its_objects() -> None:
    engine = _engine()
    optimiser = torch.optim.AdamW(engine.network.parameters(), lr=2e-3)
    images, truth = _images(), _truth()
    images.pixels[0, :, 5:30, 5:30] = 2.0
    images.pixels[0, :, 30:60, 20:60] = -2.0
    for _ in range(60):
        engine.network.train()
        losses = engine.detection_losses(engine.extract(images), [truth, NO_OBJECT], class_embeddings=CLASSES)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(engine.network.parameters(), 5.0)
        optimiser.step()
    engine.network.eval()
    with torch.no_grad():
        features = engine.extract(images)
        ((found, _),) = engine.detect(features, vocabularies=[CLASSES], limits=DetectionLimits(score_threshold=0.3))
    assert set(found.class_indices.tolist()) == {1, 3}
    assert found.mask_probabilities.shape[1:] == (28, 28)


def test_vocabularies_are_separate_questions_on_one_set_of_regions() -> None:
    engine = _engine()
    engine.network.eval()
    limits = DetectionLimits(score_threshold=0.0, max_detections=7)
    with torch.no_grad():
        features = engine.extract(_images())
        together = engine.detect(features, vocabularies=[CLASSES, CLASSES[:2]], limits=limits)
        alone = engine.detect(features, vocabularies=[CLASSES[:2]], limits=limits)
    assert all(len(found.scores) <= 7 for answer in together for found in answer)
    for ours, theirs in zip(together[1], alone[0], strict=True):
        torch.testing.assert_close(ours.scores, theirs.scores)
        assert ours.class_indices.max() <= 1


def test_weights_of_a_file_reach_the_backbone(tmp_path: Path) -> None:
    source = resnet18()
    save_file(source.state_dict(), tmp_path / "r18.safetensors")
    engine = _engine(SMALL.model_copy(update={"backbone": "resnet18", "weights": str(tmp_path / "r18.safetensors")}))
    engine.load_starting_weights()
    loaded = engine.network.state_dict()["backbone.body.body.layer4.1.conv2.weight"]
    torch.testing.assert_close(loaded, source.state_dict()["layer4.1.conv2.weight"])


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        ("resnet18", "IMAGENET1K_V9", "known: IMAGENET1K_V1"),
        ("resnet18", "nowhere.safetensors", "cannot read nowhere.safetensors"),
        ("small", "IMAGENET1K_V1", "choose resnet18"),
    ],
)
def test_weights_that_cannot_be_used_are_an_error_naming_the_option(backbone: str, weights: str, message: str) -> None:
    engine = _engine(SMALL.model_copy(update={"backbone": backbone, "weights": weights}))
    with pytest.raises(ConfigError, match=r"model\.weights") as caught:
        engine.load_starting_weights()
    assert message in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.safetensors")
    engine = _engine(SMALL.model_copy(update={"backbone": "resnet18", "weights": str(tmp_path / "part.safetensors")}))
    with pytest.raises(ConfigError, match="do not fit"):
        engine.load_starting_weights()


def test_weights_that_cannot_be_fetched_are_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # nobody listens there
    engine = _engine(SMALL.model_copy(update={"backbone": "resnet18", "weights": "IMAGENET1K_V1"}))
    with pytest.raises(ConfigError, match=r"cannot be fetched .* model.weights to null"):
        engine.load_starting_weights()
