"""The optimiser goes on from a checkpoint as if it had never stopped, and never takes a step it cannot trust."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from xpm_stream.config.role_sections import OptimiserConfig
from xpm_stream.errors import CheckpointError, ConfigError, TrainingError
from xpm_stream.stages.optimisation import Optimisation, learning_rate_factor

STEPS = 20


def _network() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def _optimisation(network: nn.Module, **settings: object) -> Optimisation:
    config = OptimiserConfig.model_validate({"learning_rate": 0.05, "warmup_steps": 4, **settings})
    return Optimisation(network, config=config, total_steps=STEPS)


def _losses(network: nn.Module, step: int) -> dict[str, Tensor]:
    data = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
    output = network(data)
    return {"fit": (output - 1).square().mean(), "size": 0.1 * output.abs().mean()}


def _train(network: nn.Module, optimisation: Optimisation, steps: range) -> list[float]:
    return [optimisation.step(_losses(network, step)) for step in steps]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_run_resumed_from_its_files_is_bit_equal_to_an_unbroken_one(
    name: str, schedule: str, ema_decay: float
) -> None:
    settings: dict[str, object] = {"name": name, "schedule": schedule, "ema_decay": ema_decay}
    unbroken = _network()
    whole = _optimisation(unbroken, **settings)
    _train(unbroken, whole, range(7))
    files, weights = whole.files(), {key: value.clone() for key, value in unbroken.state_dict().items()}
    expected = _train(unbroken, whole, range(7, STEPS))

    resumed = _network()
    resumed.load_state_dict(weights)
    second = _optimisation(resumed, **settings)
    second.load(files, name="c")
    assert second.files() == files
    assert _train(resumed, second, range(7, STEPS)) == expected
    for key, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    if ema_decay:
        for key, value in whole.ema_weights().items():
            assert torch.equal(second.ema_weights()[key], value), key


def test_a_resumed_run_of_channels_last_convolutions_is_bit_equal_too() -> None:
    def begin() -> tuple[nn.Conv2d, Optimisation]:
        torch.manual_seed(0)
        network = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        config = OptimiserConfig(warmup_steps=0, schedule="constant")
        return network, Optimisation(network, config=config, total_steps=10)

    def step(network: nn.Conv2d, optimisation: Optimisation, scale: int) -> None:
        pictures = scale * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(scale))
        optimisation.step({"loss": (network(pictures) ** 2).mean()})

    unbroken, optimisation = begin()
    broken, before = begin()
    step(unbroken, optimisation, 1)
    step(broken, before, 1)
    resumed, after = begin()
    resumed.load_state_dict({key: value.contiguous() for key, value in broken.state_dict().items()})
    after.load(before.files(), name="x")
    for scale in (2, 3):
        step(unbroken, optimisation, scale)
        step(resumed, after, scale)
    assert torch.equal(unbroken.weight, resumed.weight)


def test_the_learning_rate_after_loading_is_that_of_the_next_step() -> None:
    network = _network()
    first = _optimisation(network)
    _train(network, first, range(9))
    second = _optimisation(_network())
    assert second.learning_rate != first.learning_rate
    second.load(first.files(), name="c")
    assert second.learning_rate == first.learning_rate


def test_a_learning_rate_changed_in_the_configuration_holds_after_resuming() -> None:
    network = _network()
    first = _optimisation(network, schedule="constant", warmup_steps=0)
    _train(network, first, range(3))
    second = _optimisation(network, schedule="constant", warmup_steps=0, learning_rate=0.01)
    second.load(first.files(), name="c")
    _train(network, second, range(3, 4))
    assert second.learning_rate == pytest.approx(0.01)


def test_the_state_of_another_optimiser_is_refused_by_name() -> None:
    network = _network()
    first = _optimisation(network, name="sgd")
    _train(network, first, range(2))
    with pytest.raises(CheckpointError, match=r"checkpoint student-7 .*sgd, not adamw"):
        _optimisation(network, name="adamw").load(first.files(), name="student-7")


def test_a_state_without_an_average_is_refused_where_one_is_kept() -> None:
    network = _network()
    files = _optimisation(network).files()
    with pytest.raises(CheckpointError, match=r"ema\.safetensors"):
        _optimisation(network, ema_decay=0.9).load(files, name="c")


@pytest.mark.parametrize("damage", [{"optimiser.json": b"{"}, {"optimiser.safetensors": b"\0" * 40}])
def test_a_damaged_state_is_refused(damage: dict[str, bytes]) -> None:
    network = _network()
    optimisation = _optimisation(network)
    _train(network, optimisation, range(2))
    with pytest.raises(CheckpointError, match="checkpoint c"):
        _optimisation(network).load(optimisation.files() | damage, name="c")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_stops_the_step_and_changes_nothing(value: float) -> None:
    network = _network()
    optimisation = _optimisation(network, ema_decay=0.5)
    _train(network, optimisation, range(3))
    before = {key: weight.clone() for key, weight in network.named_parameters()}
    state = optimisation.files()
    losses = _losses(network, 3)
    losses["mask"] = losses["fit"] * value
    with pytest.raises(TrainingError, match=r"mask=(nan|inf).*learning_rate"):
        optimisation.step(losses)
    for key, weight in network.named_parameters():
        assert torch.equal(weight, before[key])
    assert optimisation.files() == state


def test_gradients_above_the_limit_are_scaled_down_to_it() -> None:
    network = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(network.weight)
    config = OptimiserConfig(name="sgd", learning_rate=1.0, weight_decay=0, clip_norm=2.0, warmup_steps=0)
    optimisation = Optimisation(network, config=config, total_steps=0)
    norm = optimisation.step({"steep": network(torch.tensor([[30.0, 40.0, 0.0]])).sum()})
    assert norm == pytest.approx(50.0)
    assert network.weight.detach().norm().item() == pytest.approx(2.0, rel=1e-4)


def test_the_average_follows_the_weights_by_its_decay() -> None:
    network = _network()
    optimisation = _optimisation(network, ema_decay=0.75)
    _train(network, optimisation, range(1))
    expected = network[0].weight.detach().clone()  # the first average is the weights themselves
    for step in range(1, 6):
        _train(network, optimisation, range(step, step + 1))
        expected = 0.75 * expected + 0.25 * network[0].weight.detach()
    averaged = optimisation.ema_weights()
    torch.testing.assert_close(averaged["0.weight"], expected)
    assert averaged.keys() == network.state_dict().keys()


def test_asking_for_an_average_that_is_not_kept_says_how_to_keep_one() -> None:
    with pytest.raises(ConfigError, match=r"optimiser\.ema_decay"):
        _optimisation(_network()).ema_weights()


def _factors(**settings: object) -> list[float]:
    config = OptimiserConfig.model_validate({"warmup_steps": 0, **settings})
    return [learning_rate_factor(step, config=config, total_steps=100) for step in range(120)]


def test_warm_up_rises_linearly_and_reaches_the_full_rate() -> None:
    factors = _factors(schedule="constant", warmup_steps=10)
    assert factors[:11] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])


def test_the_cosine_falls_from_one_to_zero_and_stays_there() -> None:
    factors = _factors(schedule="cosine")
    assert (factors[0], factors[50]) == pytest.approx((1.0, 0.5))
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors))
    assert factors[100:] == pytest.approx([0.0] * 20)


def test_the_step_schedule_falls_tenfold_at_each_fraction() -> None:
    factors = _factors(schedule="step", step_fractions=[0.5, 0.9])
    assert (factors[49], factors[50], factors[89], factors[90]) == pytest.approx((1.0, 0.1, 0.1, 0.01))


def test_a_schedule_without_an_end_keeps_the_rate() -> None:
    assert learning_rate_factor(10**9, config=OptimiserConfig(schedule="cosine"), total_steps=0) == 1.0
