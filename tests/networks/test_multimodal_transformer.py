"""The transformer over caption tokens and regions: what it may see, and what its checkpoint holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from xpm_stream.networks.multimodal_transformer import MultimodalInput, MultimodalTransformer

WIDTH, PIECES, REGION = 8, 11, 5


@pytest.fixture
def network() -> MultimodalTransformer:
    torch.manual_seed(0)
    table = torch.randn(PIECES, WIDTH)
    made = MultimodalTransformer(table, region_dimension=REGION, layers=2, heads=2, max_tokens=12)
    with torch.no_grad():  # large enough for an ignored position to show
        made.positions.mul_(50)
    return made


@pytest.fixture
def pair() -> MultimodalInput:
    return MultimodalInput(
        tokens=torch.tensor([[3, 7, 1]]),
        is_token=torch.ones(1, 3, dtype=torch.bool),
        masked=torch.tensor([[False, True, False]]),
        regions=torch.randn(1, 4, REGION, generator=torch.Generator().manual_seed(1)),
        is_region=torch.ones(1, 4, dtype=torch.bool),
    )


def _differ(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> list[bool]:
    return [not torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True)]


def test_whatever_is_in_the_padding_changes_nothing(network: MultimodalTransformer, pair: MultimodalInput) -> None:
    longer = MultimodalInput(
        tokens=torch.cat([pair.tokens, torch.tensor([[5, 5]])], dim=1),
        is_token=torch.tensor([[True, True, True, False, False]]),
        masked=torch.cat([pair.masked, torch.tensor([[True, False]])], dim=1),
        regions=torch.cat([pair.regions, torch.full((1, 3, REGION), 7.0)], dim=1),
        is_region=torch.tensor([[True] * 4 + [False] * 3]),
    )
    tokens, whole = network(longer)
    assert _differ((tokens[:, :3], whole), network(pair)) == [False, False]
    unmasked = replace(longer, is_token=torch.ones(1, 5, dtype=torch.bool))
    assert _differ((network(unmasked)[0][:, :3], network(unmasked)[1]), network(pair)) == [True, True]


def test_a_masked_token_is_not_seen_and_every_other_is(network: MultimodalTransformer, pair: MultimodalInput) -> None:
    hidden = replace(pair, tokens=torch.tensor([[3, 9, 1]]))
    assert _differ(network(hidden), network(pair)) == [False, False]
    seen = replace(pair, tokens=torch.tensor([[4, 7, 1]]))
    assert _differ(network(seen), network(pair)) == [True, True]


def test_tokens_see_regions_in_any_order_and_tokens_in_theirs(
    network: MultimodalTransformer, pair: MultimodalInput
) -> None:
    assert _differ(network(replace(pair, regions=pair.regions.flip(1))), network(pair)) == [False, False]
    other = pair.regions.clone()
    other[0, 2] += torch.arange(REGION)
    assert _differ(network(replace(pair, regions=other)), network(pair)) == [True, True]
    assert _differ(network(replace(pair, tokens=torch.tensor([[1, 7, 3]])))[1:], network(pair)[1:]) == [True]


def test_the_output_is_tied_to_a_table_that_is_frozen_and_in_no_checkpoint(network: MultimodalTransformer) -> None:
    states = torch.randn(3, WIDTH)
    with torch.no_grad():
        network.wordpiece_bias.copy_(torch.arange(PIECES))
    expected = network.predict(states).detach().numpy() @ network.wordpieces.numpy().T + range(PIECES)
    torch.testing.assert_close(network.wordpiece_logits(states).detach().numpy(), expected.astype("float32"))
    assert not any(parameter.shape == (PIECES, WIDTH) for parameter in network.parameters())
    assert not any("wordpieces" in name for name in network.state_dict())
