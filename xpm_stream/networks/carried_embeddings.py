"""Text embeddings that a checkpoint carries for its own words, so that these need no text encoder where it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from xpm_stream.config.data_sections import TextConfig
from xpm_stream.errors import CheckpointError, TextError
from xpm_stream.networks.text_encoder import TextEmbedder

_TENSOR: Final = "embeddings"
_HEADER: Final = "__metadata__"


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedEmbeddings:
    """Words with their embeddings, and which encoder made them."""

    words: list[str]
    rows: Tensor  # float32 [N, D] on the CPU, not normalised
    encoder: str  # `text.encoder`
    pooling: str
    fingerprint: str  # `TextEmbedder.fingerprint`

    def encode(self) -> bytes:
        """Return the content of a safetensors file."""
        facts = {"encoder": self.encoder, "pooling": self.pooling, "fingerprint": self.fingerprint}
        metadata = {"words": json.dumps(self.words, ensure_ascii=False), **facts}
        return save({_TENSOR: self.rows.contiguous()}, metadata=metadata)

    @classmethod
    def decode(cls, data: bytes, *, source: str) -> CarriedEmbeddings:
        """Return what `encode` wrote; `source` names the file in errors.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            rows = load(data)[_TENSOR]
            size = int.from_bytes(data[:8], "little")
            facts = json.loads(data[8 : 8 + size])[_HEADER]
            words = json.loads(facts["words"])
            found = cls(
                words=[str(word) for word in words],
                rows=rows,
                encoder=facts["encoder"],
                pooling=facts["pooling"],
                fingerprint=facts["fingerprint"],
            )
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{source} cannot be read: {error}") from error
        if rows.ndim != 2 or rows.dtype != torch.float32 or len(rows) != len(words):
            raise CheckpointError(
                f"{source} cannot be read: {len(words)} words and {tuple(rows.shape)} numbers of {rows.dtype} do not "
                "belong together"
            )
        return found


class CarriedEmbedder:
    """Gives the embeddings a checkpoint carries; its text encoder is looked for only when another word is asked for."""

    def __init__(self, carried: CarriedEmbeddings, config: TextConfig, *, name: str) -> None:
        """`config` names the encoder of other words; `name` is the checkpoint's in errors."""
        self._carried = carried
        self._config = config
        self._name = name
        self._row_of = {word: row for row, word in enumerate(carried.words)}
        self._encoder: TextEmbedder | None = None

    @property
    def dimension(self) -> int:
        """D, the width of the text space."""
        return int(self._carried.rows.shape[1])

    def embed(self, words: Sequence[str]) -> Tensor:
        """Return float32 [N, D] on the CPU for N words, in order.

        Raises:
            TextError: a word is not carried, and the encoder is not there, or is another one.
        """
        if not words:
            return torch.empty(0, self.dimension)
        others = [word for word in dict.fromkeys(words) if word not in self._row_of]
        fresh = dict(zip(others, self._find_encoder(others).embed(others).unbind(), strict=True)) if others else {}
        rows = [fresh[word] if word in fresh else self._carried.rows[self._row_of[word]] for word in words]
        return torch.stack(rows)

    def _find_encoder(self, words: Sequence[str]) -> TextEmbedder:
        if self._encoder is None:
            shown = ", ".join(map(repr, words[:5])) + (", ..." if len(words) > 5 else "")
            try:
                encoder = TextEmbedder(self._config)
            except TextError as error:
                raise TextError(
                    f"checkpoint {self._name} carries no embedding of {shown}, and its text encoder is not here "
                    f"({error}). Its own {len(self._row_of)} words (model.words) need no encoder"
                ) from error
            if encoder.fingerprint != self._carried.fingerprint:
                raise TextError(
                    f"checkpoint {self._name} carries no embedding of {shown}, and the text encoder "
                    f"{self._config.encoder!r} here is not the one it learned with (other weights or tokenizer): "
                    f"install that one; its own {len(self._row_of)} words (model.words) need no encoder"
                )
            self._encoder = encoder
        return self._encoder
