"""Reading captions with images: both losses against NumPy one pair at a time, and that they can be learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.config.network_sections import PretrainingConfig
from xpm_stream.errors import ConfigError
from xpm_stream.learning.grounding import Alone, equal_pairs
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.caption_reading import CaptionReader, Reading, TokenBatch, read_captions
from xpm_stream.networks.multimodal_transformer import MultimodalInput, MultimodalTransformer
from xpm_stream.records import SampleId

WIDTH, PIECES, REGION = 8, 11, 5
CONFIG = PretrainingConfig(mlm_weight=0.5, itm_weight=2.0)
BATCH = TokenBatch(
    tokens=[[3, 7, 1], [2], [4, 4, 9, 0, 6], [8, 1]],
    masked=[[False, True, False], [True], [True, False, False, False, True], [False, True]],
    draws=[0.0, 0.7, 0.4, 0.99],
)
NOUNS = [["dog"], ["cat"], ["dog"], ["cup"]]
NEGATIVES = {0: 1, 1: 3, 2: 1, 3: 2}  # by the draws among 1, 3 | 0, 2, 3 | 1, 3 | 0, 1, 2: images 0 and 2 say the same


def _network(layers: int = 2) -> MultimodalTransformer:
    torch.manual_seed(0)
    return MultimodalTransformer(
        torch.randn(PIECES, WIDTH), region_dimension=REGION, layers=layers, heads=2, max_tokens=6
    )


def _regions() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(count, REGION, generator=generator) for count in (4, 1, 6, 2)]


def _read(network: MultimodalTransformer, regions: list[torch.Tensor], batch: TokenBatch = BATCH) -> Reading:
    excluded = equal_pairs(NOUNS, list("abcd"))
    return read_captions(network, batch, regions, excluded=excluded, config=CONFIG, company=Alone())


def _alone(network: MultimodalTransformer, image: int, caption: int) -> tuple[np.ndarray, float]:
    """Wordpiece log probabilities of the masked tokens, and the logit of matching, of one pair without padding."""
    tokens, regions = torch.tensor([BATCH.tokens[caption]]), _regions()[image][None]
    masked = torch.tensor([BATCH.masked[caption]])
    pair = MultimodalInput(
        tokens=tokens,
        is_token=torch.ones_like(tokens, dtype=torch.bool),
        masked=masked,
        regions=regions,
        is_region=torch.ones(regions.shape[:2], dtype=torch.bool),
    )
    with torch.no_grad():
        states, whole = network(pair)
        logits = network.wordpiece_logits(states[0][masked[0]]).double().numpy()
        match = float(network.match_logits(whole))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), match


def test_both_losses_are_those_of_each_pair_alone() -> None:
    network = _network()
    reading = _read(network, _regions())
    surprises, right_guesses, pair_losses, right_matches = [], [], [], []
    for image, negative in NEGATIVES.items():
        log_probabilities, match = _alone(network, image, image)
        targets = np.array(BATCH.tokens[image])[BATCH.masked[image]]
        surprises += [-row[target] for row, target in zip(log_probabilities, targets, strict=True)]
        right_guesses += list(log_probabilities.argmax(axis=1) == targets)
        wrong_match = _alone(network, image, negative)[1]
        pair_losses += [np.log1p(np.exp(-match)), np.log1p(np.exp(wrong_match))]
        right_matches += [match > 0, wrong_match <= 0]
    assert len(surprises) == 5
    assert float(reading.losses["masked_language"].detach()) == pytest.approx(0.5 * np.mean(surprises), rel=1e-5)
    assert float(reading.losses["image_text"].detach()) == pytest.approx(2.0 * np.mean(pair_losses), rel=1e-5)
    assert reading.masked_accuracy == pytest.approx(np.mean(right_guesses))
    assert reading.match_accuracy == pytest.approx(np.mean(right_matches))


def test_regions_learn_from_both_losses() -> None:
    for name in ("masked_language", "image_text"):
        regions = [part.requires_grad_() for part in _regions()]
        _read(_network(), regions).losses[name].backward()  # type: ignore[no-untyped-call]
        assert all(part.grad is not None and float(part.grad.abs().sum()) > 0 for part in regions)


def test_masked_tokens_and_wrong_captions_are_learnt_where_regions_tell_them() -> None:
    network, regions = _network(), _regions()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    first = _read(network, regions)
    for _ in range(150):
        reading = _read(network, regions)
        optimiser.zero_grad()
        torch.stack(list(reading.losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert first.masked_accuracy <= 0.4
    assert reading.masked_accuracy == 1.0
    assert reading.match_accuracy == 1.0


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    sections = {"multimodal_layers": 1, "max_caption_tokens": 6, "mask_probability": 0.5}
    text = {"cache": str(tmp_path_factory.getbasetemp() / "embeddings")}
    return parse_config({"text": text, "pretraining": sections}, source="test")


def _image(*captions: str) -> CaptionImage:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    return CaptionImage(sample=SampleId(0, "s", 0), pixels=pixels, words=["dog"], captions=list(captions))


def test_a_batch_holds_one_caption_of_each_image_cut_and_drawn_by_its_seed_alone(config: RunConfig) -> None:
    reader = CaptionReader(config)
    images = [_image("a dog", "", "two cats"), _image("a very long caption of a dog that runs away from it all")]
    batches = [reader.collate(images, rng=np.random.default_rng(seed)) for seed in range(20)]
    assert batches[3] == reader.collate(images, rng=np.random.default_rng(3))
    assert len({tuple(batch.tokens[0]) for batch in batches}) == 2  # each of the two with tokens
    assert {len(batch.tokens[1]) for batch in batches} == {6}
    for batch in batches:
        assert [len(own) for own in batch.masked] == [len(own) for own in batch.tokens]
        assert all(any(own) for own in batch.masked)
        assert all(0 <= draw < 1 for draw in batch.draws)
    with pytest.raises(ValueError, match="has no caption to read"):
        reader.collate([_image("", " ")], rng=np.random.default_rng(0))


def test_heads_that_do_not_divide_the_width_are_refused_by_name(config: RunConfig) -> None:
    changed = config.pretraining.model_copy(update={"multimodal_heads": 7})
    with pytest.raises(ConfigError, match=r"pretraining\.multimodal_heads is 7, which does not divide 384"):
        CaptionReader(config.model_copy(update={"pretraining": changed}))
