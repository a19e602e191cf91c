"""Losses of proposals and of box regression towards boxes that methods name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.config.network_sections import ModelConfig
from xpm_stream.engines.base import Features, ImageBatch
from xpm_stream.engines.torchvision_rcnn import TorchvisionRcnn

BOXES = [torch.tensor([[4.0, 4.0, 40.0, 30.0]]), torch.zeros(0, 4)]


@pytest.fixture
def engine() -> TorchvisionRcnn:
    torch.manual_seed(0)
    config = ModelConfig(backbone="small", image_size=64, max_image_size=64, num_proposals=20)
    engine = TorchvisionRcnn(config, text_dimension=8)
    engine.network.train()
    return engine


def _features(engine: TorchvisionRcnn) -> Features:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return engine.extract(ImageBatch(pixels=pixels, sizes_hw=[(64, 64), (64, 64)]))


def _with_gradient(engine: TorchvisionRcnn, loss: torch.Tensor) -> set[str]:
    engine.network.zero_grad(set_to_none=True)
    loss.backward()
    return {
        name.split(".")[0] if name.split(".")[0] != "embedding_head" else ".".join(name.split(".")[:2])
        for name, parameter in engine.network.named_parameters()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }


def test_proposal_losses_train_the_backbone_and_the_proposal_network_only(engine: TorchvisionRcnn) -> None:
    losses = engine.proposal_losses(_features(engine), BOXES)
    assert set(losses) == {"rpn_objectness", "rpn_box"}
    assert _with_gradient(engine, losses["rpn_objectness"] + losses["rpn_box"]) == {"backbone", "rpn"}
    assert float(engine.proposal_losses(_features(engine), [BOXES[1]] * 2)["rpn_box"].detach()) == 0.0


def test_box_losses_are_smooth_l1_of_the_deltas_and_leave_classes_alone(engine: TorchvisionRcnn) -> None:
    shaken = [torch.tensor([[6.0, 2.0, 42.0, 34.0]]), torch.zeros(0, 4)]
    losses = engine.box_losses(_features(engine), shaken, BOXES)
    # Regression starts at nearly nothing, so what is missing is the deltas themselves (Mask R-CNN's 10, 10, 5, 5).
    (x0, y0, x1, y1), (u0, v0, u1, v1) = shaken[0][0].tolist(), BOXES[0][0].tolist()
    deltas = np.array(
        [
            10 * ((u0 + u1) - (x0 + x1)) / 2 / (x1 - x0),
            10 * ((v0 + v1) - (y0 + y1)) / 2 / (y1 - y0),
            5 * np.log((u1 - u0) / (x1 - x0)),
            5 * np.log((v1 - v0) / (y1 - y0)),
        ]
    )
    beta = 1 / 9
    expected = np.where(abs(deltas) < beta, deltas**2 / 2 / beta, abs(deltas) - beta / 2).sum()
    assert losses.shape == (1,)
    assert float(losses[0].detach()) == pytest.approx(expected, abs=0.1)
    trained = _with_gradient(engine, losses.sum())
    assert trained == {"backbone", "embedding_head.hidden1", "embedding_head.hidden2", "embedding_head.box_deltas"}


def test_without_boxes_the_box_loss_is_zero_with_a_graph(engine: TorchvisionRcnn) -> None:
    losses = engine.box_losses(_features(engine), [BOXES[1]] * 2, [BOXES[1]] * 2)
    assert losses.shape == (0,)
    losses.sum().backward()
