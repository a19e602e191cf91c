"""Class embeddings: the v_o of XPM, from a pretrained BERT-type encoder."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from xpm_stream.config.data_sections import TextConfig
from xpm_stream.config.user_cache import user_cache
from xpm_stream.errors import TextError
from xpm_stream.networks.embedding_cache import EmbeddingCache
from xpm_stream.networks.encoder_files import EncoderFiles, hidden_size, locate_encoder

_BATCH_WORDS = 256
_ROWS_BEFORE_WHOLE_TABLE = 512


class TextEmbedder:
    """Words to embeddings, cached by word on disk.

    `input_embeddings` is the mean of the encoder's input wordpiece embeddings, without position, context or special
    tokens, as in OVR and XPM: only the needed rows are read from the weights, the transformer is never built.
    `contextual_mean` runs the encoder on the word and takes the mean of its last hidden states.

    Example:
        >>> embedder = TextEmbedder(TextConfig(encoder="minilm"))
        >>> embedder.embed(["dog", "traffic light"]).shape
        torch.Size([2, 384])
    """

    def __init__(self, config: TextConfig) -> None:
        """Find the encoder; nothing is computed before `embed`.

        Raises:
            TextError: if the encoder is not there.
        """
        self._files = locate_encoder(config.encoder)
        self._pooling = config.pooling
        self._fingerprint = hashlib.sha256(f"{self._files.fingerprint()}:{config.pooling}".encode()).hexdigest()
        self._dimension = (
            _input_dimension(self._files) if config.pooling == "input_embeddings" else hidden_size(self._files)
        )
        folder = Path(config.cache).expanduser() if config.cache else user_cache("text")
        self._cache = EmbeddingCache(folder / self._fingerprint[:32], dimension=self._dimension)
        self._compute: Callable[[Sequence[str]], Tensor] | None = None

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Names encoder and pooling by content: embeddings of equal fingerprints may be mixed, on any machine."""
        return self._fingerprint

    @property
    def pooling(self) -> str:
        """`input_embeddings` or `contextual_mean`."""
        return self._pooling

    def embed(self, words: Iterable[str]) -> Tensor:
        """The embeddings of `words`.

        Returns:
            float32 `[N, D]` on the CPU, not normalised, in the order of `words`; N may be 0.

        Raises:
            TextError: on a word of which the tokenizer makes nothing, or an encoder that cannot be read.
        """
        ordered = list(words)
        rows = self._cache.find(ordered)
        missing = sorted({word for word in ordered if word not in rows})
        if missing:
            if self._compute is None:
                self._compute = self._load()
            computed = self._compute(missing)
            fresh = dict(zip(missing, computed.unbind(), strict=True))
            self._cache.add(fresh)
            rows |= fresh
        if not ordered:
            return torch.empty(0, self._dimension)
        return torch.stack([rows[word] for word in ordered])

    def _load(self) -> Callable[[Sequence[str]], Tensor]:
        if self._pooling == "contextual_mean":
            return _ContextualMean(self._files)
        return _InputMean(self._files)


class Wordpieces:
    """The tokenizer of an encoder, and its table of input wordpiece embeddings."""

    def __init__(self, config: TextConfig) -> None:
        """Find the encoder.

        Raises:
            TextError: if the encoder is not there.
        """
        self._files = locate_encoder(config.encoder)
        self._pieces = _wordpieces(self._files)
        self._unknown: frozenset[int] | None = None

    def indices(self, text: str) -> list[int]:
        """Return the rows of a text's wordpieces, without special tokens; none of a text without any."""
        return self._pieces(text)

    def knows(self, text: str) -> bool:
        """Tell whether a text has a wordpiece other than the one that stands for everything unknown."""
        if self._unknown is None:
            self._unknown = _unknown_piece(self._files)
        return any(piece not in self._unknown for piece in self._pieces(text))

    def embeddings(self) -> Tensor:
        """Return the whole table, float32 [V, E] on the CPU."""
        located = self._files.input_embeddings()
        if located is None:
            return _table_of_model(self._files)
        path, key = located
        with safe_open(path, framework="pt") as tensors:
            table: Tensor = tensors.get_tensor(key)
        return table.float()


class _InputMean:
    """Mean of input wordpiece embeddings."""

    def __init__(self, files: EncoderFiles) -> None:
        self._name = files.name
        self._pieces = _wordpieces(files)
        located = files.input_embeddings()
        # An encoder whose embeddings have an uncommon name is loaded whole, once.
        self._rows = _rows_on_disk(*located) if located else _rows_of_model(files)

    def __call__(self, words: Sequence[str]) -> Tensor:
        pieces = [self._pieces(word) for word in words]
        for word, own in zip(words, pieces, strict=True):
            if not own:
                raise TextError(f"text encoder {self._name!r} makes no token of the word {word!r}; leave it out")
        used = sorted({piece for own in pieces for piece in own})
        place = {piece: position for position, piece in enumerate(used)}
        rows = self._rows(used)
        return torch.stack([rows[[place[piece] for piece in own]].mean(dim=0) for own in pieces])


class _ContextualMean:
    """Mean of the last hidden states over all tokens, the special ones included, as sentence encoders are trained."""

    def __init__(self, files: EncoderFiles) -> None:
        self._name = files.name
        self._tokenizer = _auto_tokenizer(files)
        self._model = _auto_model(files)

    @torch.inference_mode()
    def __call__(self, words: Sequence[str]) -> Tensor:
        by_length: dict[int, list[int]] = defaultdict(list)
        encoded = [self._tokenizer(word)["input_ids"] for word in words]
        for position, pieces in enumerate(encoded):
            if not self._tokenizer(words[position], add_special_tokens=False)["input_ids"]:
                raise TextError(
                    f"text encoder {self._name!r} makes no token of the word {words[position]!r}; leave it out"
                )
            by_length[len(pieces)].append(position)
        result: dict[int, Tensor] = {}
        # Words of one length share a batch, so that no padding enters and a word's result does not depend on others.
        for positions in by_length.values():
            for start in range(0, len(positions), _BATCH_WORDS):
                batch = positions[start : start + _BATCH_WORDS]
                hidden = self._model(
                    input_ids=torch.tensor([encoded[position] for position in batch])
                ).last_hidden_state
                result.update(zip(batch, hidden.float().mean(dim=1).unbind(), strict=True))
        return torch.stack([result[position] for position in range(len(words))]).clone()


def _input_dimension(files: EncoderFiles) -> int:
    """The width of the input embeddings; ALBERT-like encoders have another than their hidden states."""
    located = files.input_embeddings()
    if located is None:
        return hidden_size(files)
    path, key = located
    with safe_open(path, framework="pt") as tensors:
        return int(tensors.get_slice(key).get_shape()[1])


def _wordpieces(files: EncoderFiles) -> Callable[[str], list[int]]:
    """Word -> wordpiece ids without special tokens."""
    if files.tokenizer.is_file():
        from tokenizers import Tokenizer

        try:
            text = files.tokenizer.read_text(encoding="utf-8")
            json.loads(text)
        except (OSError, ValueError) as error:
            raise TextError(f"text encoder {files.name!r}: {files.tokenizer} is damaged ({error})") from error
        fast = Tokenizer.from_str(text)
        fast.no_padding()
        fast.no_truncation()
        return lambda word: list(fast.encode(word, add_special_tokens=False).ids)
    slow = _auto_tokenizer(files)
    return lambda word: list(slow(word, add_special_tokens=False)["input_ids"])


def _unknown_piece(files: EncoderFiles) -> frozenset[int]:
    """The wordpiece of everything unknown; none of an encoder that spells everything out."""
    if files.tokenizer.is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(files.tokenizer))
        token = getattr(fast.model, "unk_token", None)
        found = fast.token_to_id(token) if token else None
    else:
        found = _auto_tokenizer(files).unk_token_id
    return frozenset() if found is None else frozenset({int(found)})


def _rows_on_disk(path: Path, key: str) -> Callable[[list[int]], Tensor]:
    """Reads rows of a tensor without reading the tensor, as the vocabulary grows by a few words at a time."""

    def rows(pieces: list[int]) -> Tensor:
        with safe_open(path, framework="pt") as tensors:
            table = tensors.get_slice(key)
            if len(pieces) > _ROWS_BEFORE_WHOLE_TABLE:
                whole: Tensor = tensors.get_tensor(key)
                return whole[pieces].float()
            return torch.cat([table[piece : piece + 1] for piece in pieces]).float()

    return rows


def _rows_of_model(files: EncoderFiles) -> Callable[[list[int]], Tensor]:
    table = _table_of_model(files)
    return lambda pieces: table[pieces]


def _table_of_model(files: EncoderFiles) -> Tensor:
    table: Tensor = _auto_model(files).get_input_embeddings().weight.detach().float().clone()
    return table


def _auto_tokenizer(files: EncoderFiles) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise TextError(
            f"text encoder {files.name!r}: no tokenizer can be read from {files.folder}: {error}"
        ) from error


def _auto_model(files: EncoderFiles) -> Any:
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    # Its progress bar would tear the live view; loading takes a second.
    logging: Any = transformers_logging
    had_progress_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(files.folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise TextError(f"text encoder {files.name!r}: no model can be read from {files.folder}: {error}") from error
    finally:
        if had_progress_bar:
            logging.enable_progress_bar()
    return model.float().eval()
