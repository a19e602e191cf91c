"""A network goes into a checkpoint's files and comes back the same; anything else is refused by name."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from small_methods import BASE_CLASSES, MakeConfig, MakeMethod

from xpm_stream.errors import CheckpointError
from xpm_stream.stages.network_files import (
    CLASSES,
    CONFIG,
    STATE,
    WEIGHTS,
    checkpoint_base_classes,
    checkpoint_config,
    load_network,
    network_files,
)


@pytest.fixture(scope="module")
def files(make_method: MakeMethod, make_config: MakeConfig) -> dict[str, bytes]:
    return network_files(make_method(seed=3), config=make_config(), base_classes=BASE_CLASSES)


def test_weights_come_back_bit_equal(make_method: MakeMethod, make_config: MakeConfig, files: dict[str, bytes]) -> None:
    method = make_method(seed=4)
    load_network(method, files, name="c")
    assert network_files(method, config=make_config(), base_classes=BASE_CLASSES) == files


def test_configuration_and_classes_come_back(make_config: MakeConfig, files: dict[str, bytes]) -> None:
    assert checkpoint_config(files, name="c") == make_config()
    assert checkpoint_base_classes(files, name="c") == BASE_CLASSES


def test_other_weights_than_the_networks_own_can_be_written(make_method: MakeMethod, make_config: MakeConfig) -> None:
    method = make_method()
    averaged = {name: torch.zeros_like(value) for name, value in method.network.state_dict().items()}
    written = network_files(method, config=make_config(), base_classes=BASE_CLASSES, weights=averaged)
    assert not any(value.any() for value in safetensors.torch.load(written[WEIGHTS]).values())


def test_another_architecture_is_refused_with_what_differs_and_how_it_was_made(
    make_method: MakeMethod, files: dict[str, bytes]
) -> None:
    other = make_method(backbone="resnet18")
    before = {name: value.clone() for name, value in other.network.state_dict().items()}
    with pytest.raises(CheckpointError) as refused:
        load_network(other, files, name="teacher-7")
    said = str(refused.value)
    assert "checkpoint teacher-7 is of another architecture: " in said
    assert "backbone: small" in said
    assert "set the same model section" in said
    for name, value in other.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_tensor_of_another_shape_is_named_with_both_shapes(make_method: MakeMethod, files: dict[str, bytes]) -> None:
    tensors = safetensors.torch.load(files[WEIGHTS])
    name, value = next((n, v) for n, v in sorted(tensors.items()) if v.ndim == 4)
    wider = {**tensors, name: torch.zeros(value.shape[0] + 1, *value.shape[1:])}
    with pytest.raises(CheckpointError) as refused:
        load_network(make_method(), files | {WEIGHTS: safetensors.torch.save(wider)}, name="c")
    assert f"{name} is {tuple(wider[name].shape)} there and {tuple(value.shape)} here" in str(refused.value)


@pytest.mark.parametrize("missing", [WEIGHTS, STATE])
def test_a_missing_file_is_named(make_method: MakeMethod, files: dict[str, bytes], missing: str) -> None:
    with pytest.raises(CheckpointError, match=f"checkpoint c lacks the file '{missing}'"):
        load_network(make_method(), {name: data for name, data in files.items() if name != missing}, name="c")


@pytest.mark.parametrize("damage", [{WEIGHTS: b"\0" * 64}, {WEIGHTS: b""}, {STATE: b"{"}])
def test_a_damaged_file_is_refused(make_method: MakeMethod, files: dict[str, bytes], damage: dict[str, bytes]) -> None:
    with pytest.raises(CheckpointError, match="checkpoint c cannot be read"):
        load_network(make_method(), files | damage, name="c")


def test_configuration_and_classes_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(CheckpointError, match=rf"checkpoint c has no readable {CONFIG}"):
        checkpoint_config({CONFIG: b"{"}, name="c")
    with pytest.raises(CheckpointError, match=rf"checkpoint c has no readable {CONFIG}"):
        checkpoint_config({}, name="c")
    for classes in (b"{", b"[]", json.dumps({"target": []}).encode()):
        with pytest.raises(CheckpointError, match=rf"checkpoint c has no readable {CLASSES}"):
            checkpoint_base_classes({CLASSES: classes}, name="c")
