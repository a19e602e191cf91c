"""A small transformer over [caption tokens; regions of an image]: OVR's optional head, for pretraining only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_INITIAL_STD = 0.02  # as BERT's


@dataclass(frozen=True, slots=True, kw_only=True)
class MultimodalInput:
    """N pairs of a caption and an image's regions, padded."""

    tokens: Tensor  # int64 [N, T] rows of the wordpiece table
    is_token: Tensor  # bool [N, T], false at padding
    masked: Tensor  # bool [N, T], tokens that the transformer may not see
    regions: Tensor  # [N, R, D]
    is_region: Tensor  # bool [N, R], false at padding


class MultimodalTransformer(nn.Module):
    """Contextual states of caption tokens that look at regions, and of the pair as a whole.

    Tokens are the text encoder's frozen input wordpiece embeddings with a learnt position; the table is no weight of
    this network and in no checkpoint of it. Regions have no position. No dropout: its draws would not be those of an
    uninterrupted run after a resume.
    """

    wordpieces: Tensor

    def __init__(self, wordpieces: Tensor, *, region_dimension: int, layers: int, heads: int, max_tokens: int) -> None:
        """Build it.

        Args:
            wordpieces: the frozen table [V, E]; E is the transformer's width.
            region_dimension: D of the regions.
            layers: how many.
            heads: of each layer's attention; divides E.
            max_tokens: the longest T.
        """
        super().__init__()
        width = wordpieces.shape[1]
        self.register_buffer("wordpieces", wordpieces, persistent=False)
        self.pair = nn.Parameter(torch.empty(width))  # an input of its own, whose state stands for the whole pair
        self.mask = nn.Parameter(torch.empty(width))  # in place of a masked token; not every encoder has one
        self.positions = nn.Parameter(torch.empty(max_tokens, width))
        for parameter in (self.pair, self.mask, self.positions):
            nn.init.normal_(parameter, std=_INITIAL_STD)
        self.project_regions = nn.Linear(region_dimension, width)
        self.token_norm, self.region_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.predict = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.wordpiece_bias = nn.Parameter(torch.zeros(len(wordpieces)))
        self.matches = nn.Linear(width, 1)

    def forward(self, batch: MultimodalInput) -> tuple[Tensor, Tensor]:
        """Return the states of the tokens [N, T, E] and of the pairs [N, E]."""
        num_pairs, num_tokens = batch.tokens.shape
        embedded = torch.where(batch.masked[..., None], self.mask, self.wordpieces[batch.tokens])
        inputs = torch.cat(
            [
                self.pair.expand(num_pairs, 1, -1),
                self.token_norm(embedded + self.positions[:num_tokens]),
                self.region_norm(self.project_regions(batch.regions)),
            ],
            dim=1,
        )
        is_padding = ~torch.cat([batch.is_token.new_ones((num_pairs, 1)), batch.is_token, batch.is_region], dim=1)
        states = self.layers(inputs, src_key_padding_mask=is_padding)
        return states[:, 1 : 1 + num_tokens], states[:, 0]

    def wordpiece_logits(self, states: Tensor) -> Tensor:
        """Token states [M, E] -> logits over all wordpieces [M, V], float32; the output is tied to the input table."""
        return functional.linear(self.predict(states), self.wordpieces, self.wordpiece_bias).float()

    def match_logits(self, states: Tensor) -> Tensor:
        """Pair states [N, E] -> logits of image and caption belonging together [N], float32."""
        logits: Tensor = self.matches(states)[:, 0]
        return logits.float()
