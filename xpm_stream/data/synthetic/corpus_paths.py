"""Where the files of a written corpus are, and what it was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xpm_stream.data.synthetic.corpus_config import SyntheticConfig
from xpm_stream.errors import DataError

# Part of a corpus's identity: raise it whenever the same configuration and seed would draw or say something else.
GENERATOR_VERSION: Final = 1
CORPUS_FILE: Final = "corpus.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPaths:
    """The files of one written corpus, as the `data` section of a run's configuration wants them."""

    folder: Path
    base_annotations: Path  # COCO instance JSON
    base_images: Path  # folder of JPEG files
    val_annotations: Path  # COCO instance JSON
    val_images: Path  # folder of JPEG files
    caption_shards: str  # glob of WebDataset tars
    split: Path  # {"base": [...], "target": [...]}
    base_words: tuple[str, ...]
    target_words: tuple[str, ...]
    unannotated_words: tuple[str, ...]  # in caption images and captions only
    late_words: tuple[str, ...]  # absent from the first part of the caption stream

    @classmethod
    def load(cls, folder: str | Path) -> CorpusPaths:
        """The corpus that `write_corpus` wrote into `folder`.

        Raises:
            DataError: the folder holds no finished corpus.
        """
        description = read_description(Path(folder))
        if description is None:
            raise DataError(f"{folder} holds no finished synthetic corpus; write one with `xpm-stream synth {folder}`")
        return cls.of(Path(folder), words=description["words"])

    @classmethod
    def of(cls, folder: Path, *, words: dict[str, list[str]]) -> CorpusPaths:
        """The paths under `folder`, for the given word lists (base, target, unannotated, late)."""
        return cls(
            folder=folder,
            base_annotations=folder / "annotations" / "instances_base_train.json",
            base_images=folder / "base_train",
            val_annotations=folder / "annotations" / "instances_val.json",
            val_images=folder / "val",
            caption_shards=str(folder / "captions" / "*.tar"),
            split=folder / "split.json",
            base_words=tuple(words["base"]),
            target_words=tuple(words["target"]),
            unannotated_words=tuple(words["unannotated"]),
            late_words=tuple(words["late"]),
        )


def describe(config: SyntheticConfig, *, seed: int, words: dict[str, list[str]]) -> dict[str, Any]:
    """What corpus.json says: enough to tell this corpus from any other, and to draw it again."""
    return {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "config": config.model_dump(mode="json"),
        "words": words,
    }


def read_description(folder: Path) -> dict[str, Any] | None:
    """corpus.json of `folder`, or None where there is none. It is written last: its presence means a whole corpus.

    Raises:
        DataError: the file is there and is not a corpus description.
    """
    path = folder / CORPUS_FILE
    if not path.is_file():
        return None
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); delete it to have the corpus written again") from error
    if not isinstance(description, dict) or not isinstance(description.get("words"), dict):
        raise DataError(f"{path} does not describe a synthetic corpus; choose another folder")
    return description
