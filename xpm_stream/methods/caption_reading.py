"""Captions read together with images (OVR's optional head): masked tokens guessed, and wrong captions told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from xpm_stream.config import RunConfig
from xpm_stream.config.network_sections import PretrainingConfig
from xpm_stream.errors import ConfigError
from xpm_stream.learning.grounding import Company, Matching
from xpm_stream.learning.losses import require_finite
from xpm_stream.learning.multimodal import choose_negatives, draw_masked, joint_means
from xpm_stream.methods.base import CaptionImage
from xpm_stream.networks.multimodal_transformer import MultimodalInput, MultimodalTransformer
from xpm_stream.networks.text_encoder import TextEmbedder, Wordpieces


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """One caption of each of B images, and what is drawn for it."""

    tokens: list[list[int]]  # B, wordpieces, at least one each
    masked: list[list[bool]]  # B, as long as the tokens
    draws: list[float]  # B, [0, 1): which wrong caption an image meets


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What reading says of a step's images and captions, over all ranks."""

    losses: dict[str, Tensor]  # weighted, scalars
    masked_accuracy: float  # share of masked tokens whose own wordpiece scores best
    match_accuracy: float  # share of pairs, right and wrong, taken for what they are


class CaptionReader:
    """The head with its tokenizer. Its weights are beside a method's network, which never holds them."""

    def __init__(self, config: RunConfig) -> None:
        """Build the head that `pretraining.multimodal_layers` asks for, on the CPU.

        Raises:
            ConfigError: the heads do not divide the width.
            TextError: there is no such text encoder.
        """
        self._config = config.pretraining
        self._wordpieces = Wordpieces(config.text)
        table = self._wordpieces.embeddings()
        if table.shape[1] % self._config.multimodal_heads:
            raise ConfigError(
                f"pretraining.multimodal_heads is {self._config.multimodal_heads}, which does not divide "
                f"{table.shape[1]}, the width of the wordpiece embeddings of text.encoder {config.text.encoder!r}"
            )
        self.network = MultimodalTransformer(
            table,
            region_dimension=TextEmbedder(config.text).dimension,
            layers=self._config.multimodal_layers,
            heads=self._config.multimodal_heads,
            max_tokens=self._config.max_caption_tokens,
        )

    def collate(self, images: Sequence[CaptionImage], *, rng: np.random.Generator) -> TokenBatch:
        """Draw a caption of every image, its masked tokens, and its wrong caption. Runs in a loader thread.

        Raises:
            ValueError: an image without a caption that has tokens.
        """
        tokens = [self._tokens(image, rng=rng) for image in images]
        masked = [draw_masked(len(own), probability=self._config.mask_probability, rng=rng) for own in tokens]
        return TokenBatch(
            tokens=tokens, masked=[own.tolist() for own in masked], draws=[float(rng.random()) for _ in images]
        )

    def read(self, batch: TokenBatch, matching: Matching, *, company: Company) -> Reading:
        """Read captions with the regions that `matching` was made of; every rank calls this together.

        Raises:
            TrainingError: a loss is not finite.
        """
        assert matching.excluded is not None
        self.network.train()
        return read_captions(
            self.network,
            batch,
            matching.regions,
            excluded=matching.excluded,
            config=self._config,
            company=company,
        )

    def _tokens(self, image: CaptionImage, *, rng: np.random.Generator) -> list[int]:
        for index in rng.permutation(len(image.captions)):
            if tokens := self._wordpieces.indices(image.captions[index]):
                return tokens[: self._config.max_caption_tokens]
        raise ValueError(f"sample {image.sample} has no caption to read")


def read_captions(
    network: MultimodalTransformer,
    batch: TokenBatch,
    regions: Sequence[Tensor],
    *,
    excluded: Tensor,
    config: PretrainingConfig,
    company: Company,
) -> Reading:
    """Masked language modelling and image-text matching of this rank's images among the captions of all ranks.

    Each image meets its own caption and one of another image. Both have their drawn tokens masked, so that masks do not
    tell which is which; only tokens of the image's own caption are to be guessed.

    Args:
        network: the head.
        batch: this rank's captions.
        regions: of each of this rank's images [R, D].
        excluded: bool [B, B] over all ranks: captions that are no true negatives of an image.
        config: weights of the two losses.
        company: the ranks; every one calls this together.

    Raises:
        TrainingError: a loss is not finite.
    """
    shared = company.share(list(zip(batch.tokens, batch.masked, strict=True)))
    captions = [caption for part in shared for caption in part]
    first = sum(len(part) for part in shared[: company.number])
    num_images = len(regions)
    wrong = choose_negatives(excluded, batch.draws, first=first)
    pairs = [(image, first + image) for image in range(num_images)]
    pairs += [(image, caption) for image, caption in enumerate(wrong) if caption is not None]
    inputs = _pair_up(pairs, regions, captions)
    token_states, pair_states = network(inputs)

    asked = inputs.masked[:num_images]  # bool [B, T]
    logits = network.wordpiece_logits(token_states[:num_images][asked])
    targets = inputs.tokens[:num_images][asked]
    match_logits = network.match_logits(pair_states)
    belongs = torch.arange(len(pairs), device=match_logits.device) < num_images
    means = joint_means(
        {
            "masked_language": functional.cross_entropy(logits, targets, reduction="none"),
            "image_text": functional.binary_cross_entropy_with_logits(match_logits, belongs.float(), reduction="none"),
            "masked_accuracy": (logits.argmax(dim=1) == targets).float(),
            "match_accuracy": ((match_logits > 0) == belongs).float(),
        },
        company,
    )
    losses = {
        "masked_language": config.mlm_weight * means["masked_language"],
        "image_text": config.itm_weight * means["image_text"],
    }
    require_finite(losses)
    return Reading(
        losses=losses,
        masked_accuracy=float(means["masked_accuracy"]),
        match_accuracy=float(means["match_accuracy"]),
    )


def _pair_up(
    pairs: Sequence[tuple[int, int]],
    regions: Sequence[Tensor],
    captions: Sequence[tuple[Sequence[int], Sequence[bool]]],
) -> MultimodalInput:
    """Lay N pairs of an image's index and a caption's index out side by side."""
    device = regions[0].device
    tokens = [torch.tensor(captions[caption][0], device=device) for _, caption in pairs]
    masked = [torch.tensor(captions[caption][1], device=device) for _, caption in pairs]
    seen = [regions[image] for image, _ in pairs]
    return MultimodalInput(
        tokens=pad_sequence(tokens, batch_first=True),
        is_token=_filled(tokens),
        masked=pad_sequence(masked, batch_first=True),
        regions=pad_sequence(seen, batch_first=True),
        is_region=_filled(seen),
    )


def _filled(parts: Sequence[Tensor]) -> Tensor:
    """Where the padded parts have something: bool [N, longest]."""
    return pad_sequence(
        [torch.ones(len(part), dtype=torch.bool, device=part.device) for part in parts], batch_first=True
    )
