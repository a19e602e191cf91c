"""What a synthetic corpus is made of: sizes, classes, scenes, captions; and the three presets."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from xpm_stream.config.sections import Fraction, NonNegative, Positive, Section
from xpm_stream.errors import ConfigError

CountRange = tuple[NonNegative, NonNegative]
SizeRange = tuple[Annotated[float, Field(gt=0.0, le=1.0)], Annotated[float, Field(gt=0.0, le=1.0)]]


class SyntheticConfig(Section):
    """A synthetic corpus, up to its seed. Ranges are inclusive (low, high) pairs."""

    # How much
    base_images: Positive = Field(1500, description="images with masks of the base classes")
    caption_images: Positive = Field(3000, description="image-caption pairs")
    val_images: Positive = Field(600, description="held-out images with masks of base and target classes")
    images_per_shard: Positive = Field(250, description="samples in one caption tar")
    image_size: Annotated[int, Field(ge=48, le=1024)] = Field(160, description="shorter side of an image, pixels")
    aspect_ratio: tuple[Annotated[float, Field(ge=1.0, le=2.0)], Annotated[float, Field(ge=1.0, le=2.0)]] = Field(
        (1.0, 1.0), description="longer over shorter side; half of the images are upright"
    )

    # Which classes (prefixes of the lists in `catalog`, so a larger corpus contains the classes of a smaller one)
    base_classes: Positive = Field(32, description="classes annotated in the base set")
    target_classes: Positive = Field(12, description="classes annotated in the held-out set only")
    unannotated_classes: NonNegative = Field(8, description="classes seen in caption images and never annotated")

    # Scenes
    style: Literal["filled", "sketch"] = Field("filled", description="`sketch`: ink outlines and hatching on paper")
    objects: CountRange = Field((1, 4), description="objects in one image")
    repeat_rate: Fraction = Field(0.15, description="probability that a further object repeats a class of its image")
    object_scale: SizeRange = Field((0.22, 0.55), description="extent of an object over the image's shorter side")
    max_rotation_deg: Annotated[float, Field(ge=0.0, le=180.0)] = Field(25.0, description="objects turn up to this")
    min_visible: Annotated[float, Field(ge=0.05, le=1.0)] = Field(
        0.5, description="an object stays if at least this fraction of it is neither hidden nor outside the image"
    )
    distractors: CountRange = Field((0, 4), description="blobs, bars and lines in the background that are no objects")
    typical_colour_rate: Fraction = Field(
        0.6, description="classes with a colour of their own (carrot, banana) have it this often"
    )
    degradation: Fraction = Field(0.5, description="strength of blur, sensor noise and lighting; 0: none")
    jpeg_quality: tuple[Annotated[int, Field(ge=30, le=100)], Annotated[int, Field(ge=30, le=100)]] = (82, 95)

    # Which classes meet in which images
    base_set_target_rate: Fraction = Field(
        0.12, description="objects of base images that are unannotated target objects"
    )
    caption_target_rate: Fraction = Field(0.4, description="objects of caption images that are of target classes")
    caption_unannotated_rate: Fraction = Field(0.12, description="objects of caption images that are never annotated")
    val_target_rate: Fraction = Field(0.35, description="objects of held-out images that are of target classes")
    late_class_rate: Fraction = Field(
        0.0, description="share of target and unannotated classes that arrive at mid-stream"
    )
    late_from: Fraction = Field(0.5, description="fraction of the caption stream after which the late classes appear")

    # Captions
    captions: tuple[Annotated[int, Field(ge=1, le=5)], Annotated[int, Field(ge=1, le=5)]] = Field(
        (1, 3), description="captions of one image"
    )
    omission_rate: Fraction = Field(0.1, description="probability that a caption leaves out a class of its image")
    synonym_rate: Fraction = Field(0.05, description="mentions by another word (mug for cup) where the class has one")
    adjective_rate: Fraction = Field(0.4, description="mentions with an adjective")
    place_rate: Fraction = Field(0.3, description="captions that say where or how the picture was taken")
    nounless_rate: Fraction = Field(0.02, description="images whose captions name no object at all")
    wrong_noun_rate: Annotated[float, Field(ge=0.0, le=0.8)] = Field(
        0.0, description="share of an image's mentioned nouns that are not in the picture (mostly replaced, some added)"
    )

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        ranges = ("aspect_ratio", "objects", "object_scale", "distractors", "jpeg_quality", "captions")
        for name in ranges:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the low end {low} is above the high end {high}; swap them")
        if self.objects[0] < 1:
            raise ValueError("objects: an image needs at least one object; raise the low end to 1")
        if self.caption_target_rate + self.caption_unannotated_rate > 1.0:
            raise ValueError("caption_target_rate + caption_unannotated_rate is above 1; lower one of them")
        return self


PRESETS: Final[dict[str, SyntheticConfig]] = {
    "tiny": SyntheticConfig(
        base_images=24,
        caption_images=48,
        val_images=16,
        images_per_shard=16,
        image_size=96,
        base_classes=14,
        target_classes=6,
        unannotated_classes=4,
    ),
    # Simple enough for a detector of 3 M parameters to learn from scratch in minutes on two cores.
    "quickstart": SyntheticConfig(
        base_images=1500,
        caption_images=2400,
        val_images=400,
        images_per_shard=200,
        image_size=128,
        base_classes=20,
        target_classes=8,
        unannotated_classes=4,
        objects=(1, 3),
        object_scale=(0.3, 0.6),
        max_rotation_deg=15.0,
        min_visible=0.7,
        distractors=(0, 2),
        degradation=0.15,
    ),
    "full": SyntheticConfig(
        base_images=8000,
        caption_images=20000,
        val_images=1200,
        images_per_shard=500,
        image_size=192,
        aspect_ratio=(1.0, 1.35),
        base_classes=44,
        target_classes=18,
        unannotated_classes=16,
        objects=(1, 5),
        object_scale=(0.15, 0.6),
        max_rotation_deg=40.0,
        min_visible=0.4,
        distractors=(0, 7),
        typical_colour_rate=0.5,
        captions=(1, 5),
        omission_rate=0.15,
        synonym_rate=0.08,
    ),
}


def preset_config(preset: str | SyntheticConfig) -> SyntheticConfig:
    """The configuration of that preset's name; a configuration is returned as it is.

    Raises:
        ConfigError: no preset has that name.
    """
    if isinstance(preset, SyntheticConfig):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"no synthetic preset named {preset!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[preset]
