"""Data that a run makes itself before it starts: the synthetic corpus, or COCO captions packed into shards."""

from __future__ import annotations

import os
from collections.abc import Callable

from pydantic import ValidationError

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import BaseSetConfig, DataConfig, SplitConfig, SyntheticCorpusConfig
from xpm_stream.data.packing import pack_coco_captions
from xpm_stream.data.synthetic import PRESETS, CorpusPaths, SyntheticConfig, write_corpus
from xpm_stream.errors import ConfigError
from xpm_stream.stages.run_folder import RunFolder

Progress = Callable[[int, int], None]


def prepare_data(config: RunConfig, *, progress: Progress | None = None) -> RunConfig:
    """Make what `prepare` asks for in the run folder, and return the configuration with `data` filled in.

    What is already there is used again.

    Raises:
        ConfigError: the preset is unknown, a setting is out of range, or both kinds are asked for.
    """
    prepare, folder = config.prepare, RunFolder.of(config)
    if prepare.synthetic is not None and prepare.pack is not None:
        raise ConfigError("prepare.synthetic and prepare.pack are alternatives: keep one of them")
    if prepare.synthetic is not None:
        seed = config.seed if prepare.synthetic.seed is None else prepare.synthetic.seed
        corpus = write_corpus(
            folder.corpus,
            preset=synthetic_config(prepare.synthetic),
            seed=seed,
            workers=os.cpu_count() or 1,
            progress=progress,
        )
        return _with_data(config, synthetic_data(config.data, corpus))
    if prepare.pack is not None:
        report = pack_coco_captions(
            prepare.pack.captions,
            prepare.pack.images,
            folder.corpus,
            samples_per_shard=prepare.pack.samples_per_shard,
        )
        return _with_data(config, config.data.model_copy(update={"shards": list(report.shards)}))
    return config


def synthetic_config(section: SyntheticCorpusConfig) -> SyntheticConfig:
    """Return a preset with single settings changed.

    Raises:
        ConfigError: there is no such preset or setting, or a value is out of range.
    """
    if section.preset not in PRESETS:
        raise ConfigError(f"prepare.synthetic.preset: unknown preset {section.preset!r} (known: {', '.join(PRESETS)})")
    try:
        return SyntheticConfig.model_validate(PRESETS[section.preset].model_dump() | section.settings)
    except ValidationError as error:
        shown = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"prepare.synthetic.settings: {shown}") from error


def synthetic_data(data: DataConfig, corpus: CorpusPaths) -> DataConfig:
    """Return a `data` section that reads a written synthetic corpus."""
    return data.model_copy(
        update={
            "shards": [corpus.caption_shards],
            "base": BaseSetConfig(annotations=str(corpus.base_annotations), images=str(corpus.base_images)),
            "val": BaseSetConfig(annotations=str(corpus.val_annotations), images=str(corpus.val_images)),
            "split": SplitConfig(file=str(corpus.split)),
        }
    )


def _with_data(config: RunConfig, data: DataConfig) -> RunConfig:
    return config.model_copy(update={"data": data})
