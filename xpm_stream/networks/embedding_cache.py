"""Embeddings by word on disk, shared by the processes of a machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

_LOGGER = logging.getLogger(__name__)
_TENSOR = "embeddings"
_SEGMENTS_BEFORE_MERGE = 32


class EmbeddingCache:
    """Word -> embedding in immutable segment files, each written whole and then renamed into place.

    Any number of processes may read and write one folder at once: files are named by their content, so nobody
    overwrites anybody; two processes that compute the same word only write it twice. When there are many segments,
    whoever writes next merges them, and deletes the old ones only after the merged one is in place.

    It is a cache: a folder that cannot be written, or a damaged segment, costs time and is said in the log.
    """

    def __init__(self, folder: Path, *, dimension: int) -> None:
        """Use `folder`, which is made on the first write; every embedding has `dimension` numbers."""
        self._folder = folder
        self._dimension = dimension
        self._rows: dict[str, Tensor] = {}
        self._read: set[str] = set()

    def find(self, words: Iterable[str]) -> dict[str, Tensor]:
        """The embeddings `[D]` of those of `words` that are known here or by now on disk."""
        wanted = list(words)
        if any(word not in self._rows for word in wanted):
            self._read_new_segments()
        return {word: self._rows[word] for word in wanted if word in self._rows}

    def add(self, rows: Mapping[str, Tensor]) -> None:
        """Remember embeddings `[D]` by word, here and on disk."""
        if not rows:
            return
        self._rows.update(rows)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            segments = self._segments()
            self._write(rows)
            if len(segments) >= _SEGMENTS_BEFORE_MERGE:
                self._merge(segments)
        except OSError as error:
            _LOGGER.warning("embeddings are not cached: %s cannot be written (%s)", self._folder, error)

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.safetensors"))

    def _read_new_segments(self) -> None:
        for path in self._segments():
            if path.name in self._read:
                continue
            try:
                self._rows.update(self._read_segment(path))
            except FileNotFoundError:
                # Merged away since the listing; the merged segment was there before, or is met at the next look.
                continue
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                _LOGGER.warning("cached embeddings %s are damaged and computed again: %s", path, error)
            self._read.add(path.name)

    def _read_segment(self, path: Path) -> dict[str, Tensor]:
        with safe_open(path, framework="pt") as segment:
            words = json.loads((segment.metadata() or {})["words"])
            rows = segment.get_tensor(_TENSOR)
        if rows.shape != (len(words), self._dimension) or rows.dtype != torch.float32:
            raise ValueError(
                f"{len(words)} words and {tuple(rows.shape)} numbers of {rows.dtype} do not belong together"
            )
        return dict(zip(words, rows.unbind(), strict=True))

    def _write(self, rows: Mapping[str, Tensor]) -> Path:
        words = sorted(rows)
        stacked = torch.stack([rows[word] for word in words])
        packed = save({_TENSOR: stacked}, metadata={"words": json.dumps(words, ensure_ascii=False)})
        target = self._folder / f"{hashlib.sha256(packed).hexdigest()[:32]}.safetensors"
        handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(packed)
            Path(temporary).replace(target)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._read.add(target.name)
        return target

    def _merge(self, segments: list[Path]) -> None:
        self._read_new_segments()
        merged = self._write(self._rows)
        for path in segments:
            if path != merged and path.name in self._read:
                path.unlink(missing_ok=True)
