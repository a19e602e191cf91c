"""One picture: objects drawn, placed over a background with bounded occlusion, lit; and the exact mask of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from xpm_stream.data.synthetic.backgrounds import draw_background
from xpm_stream.data.synthetic.catalog import CLASSES
from xpm_stream.data.synthetic.corpus_config import SyntheticConfig
from xpm_stream.data.synthetic.palette import draw_palette
from xpm_stream.data.synthetic.pen import Pattern, Pen, Pose

Pixels = npt.NDArray[np.uint8]

_PLACEMENT_TRIES = 10
_MIN_VISIBLE_PIXELS = 16  # below this a box is a few pixels and no detector could be blamed
_SHADOW_REACH = 8  # pixels that a soft shadow may reach beyond its object
_TEXTURES: tuple[Pattern, ...] = ("plain", "plain", "stripes", "checks", "dots", "speckles")


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One object as it is visible in the finished picture."""

    word: str
    mask: npt.NDArray[np.bool_]  # (H, W) bool: the pixels it covers by half or more and that nothing hides
    box_xyxy: tuple[int, int, int, int]  # tight around the mask; right and bottom exclusive
    visible: float  # visible pixels over all its pixels, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture and what is in it, nearest object last."""

    pixels: Pixels  # (H, W, 3) uint8
    objects: tuple[SceneObject, ...]


class Composition:
    """Objects laid over one another on a background, each pixel owned by the topmost object that half covers it."""

    def __init__(self, background: Pixels, *, min_visible: float) -> None:
        self.pixels = background
        self.min_visible = min_visible
        self._owner: npt.NDArray[np.int16] = np.full(background.shape[:2], -1, dtype=np.int16)
        self._words: list[str] = []
        self._sizes: list[int] = []  # pixels of each whole object, hidden ones and those outside included

    def admits(self, patch: Pixels, *, left: int, top: int) -> bool:
        """Whether the object would be visible enough there, and leave the earlier ones visible enough."""
        solid = patch[..., 3] >= 128
        window, part = self._overlap(solid, left=left, top=top)
        if part is None or solid[part].sum() < max(_MIN_VISIBLE_PIXELS, self.min_visible * solid.sum()):
            return False
        hidden = np.bincount(self._owner[window][solid[part]] + 1, minlength=len(self._sizes) + 1)[1:]
        for index, loss in enumerate(hidden):
            if loss:
                left_over = int((self._owner == index).sum()) - int(loss)
                if left_over < max(_MIN_VISIBLE_PIXELS, self.min_visible * self._sizes[index]):
                    return False
        return True

    def place(self, patch: Pixels, *, word: str, left: int, top: int, shadow: float = 0.0) -> None:
        """Lay an RGBA patch (h, w, 4) uint8 over the picture with its corner there, possibly reaching outside."""
        if shadow > 0.0:
            self._darken(patch[..., 3], left=left + 2, top=top + 3, strength=shadow)
        solid = patch[..., 3] >= 128
        window, part = self._overlap(solid, left=left, top=top)
        assert part is not None, "an object entirely outside the image is never admitted"
        visible = patch[part]
        alpha = visible[..., 3:].astype(np.uint16)
        blended = visible[..., :3] * alpha + self.pixels[window] * (255 - alpha)
        self.pixels[window] = ((blended + 127) // 255).astype(np.uint8)
        self._owner[window][solid[part]] = len(self._words)
        self._words.append(word)
        self._sizes.append(int(solid.sum()))

    def objects(self) -> tuple[SceneObject, ...]:
        """Every object placed, with what is visible of it now."""
        return tuple(self._describe(index, word) for index, word in enumerate(self._words))

    def _describe(self, index: int, word: str) -> SceneObject:
        mask = self._owner == index
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return SceneObject(word=word, mask=mask, box_xyxy=box, visible=float(mask.sum()) / self._sizes[index])

    def _overlap(
        self, patch: npt.NDArray[np.generic], *, left: int, top: int
    ) -> tuple[tuple[slice, slice], tuple[slice, slice] | None]:
        """The window of the picture that the patch falls on, and the part of the patch inside it, if any."""
        height, width = self._owner.shape
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(width, left + patch.shape[1]), min(height, top + patch.shape[0])
        window = (slice(y0, max(y0, y1)), slice(x0, max(x0, x1)))
        inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)) if x1 > x0 and y1 > y0 else None
        return window, inside

    def _darken(self, alpha: Pixels, *, left: int, top: int, strength: float) -> None:
        """Darken the picture under a soft copy of the object."""
        soft = _softened(np.pad(alpha, _SHADOW_REACH))
        window, part = self._overlap(soft, left=left - _SHADOW_REACH, top=top - _SHADOW_REACH)
        if part is not None:
            factor = 256 - (soft[part].astype(np.uint16) * round(strength * 256) >> 8)
            self.pixels[window] = (self.pixels[window] * factor[..., None] >> 8).astype(np.uint8)


def compose_scene(config: SyntheticConfig, *, words: Sequence[str], rng: np.random.Generator) -> Scene:
    """Draw a picture with these objects, farthest first; one that finds no place where enough shows is left out."""
    width, height = _draw_size(config, rng)
    distractors = int(rng.integers(config.distractors[0], config.distractors[1] + 1))
    background = draw_background((width, height), rng=rng, distractors=distractors, style=config.style)
    composition = Composition(background, min_visible=config.min_visible)
    light_deg = float(rng.uniform(0, 360))
    shadow = config.degradation * float(rng.uniform(0.2, 0.8)) if config.style == "filled" else 0.0
    for word in words:
        patch = draw_object(word, config=config, side_px=min(width, height), rng=rng)
        if config.style == "filled" and config.degradation > 0.0:
            patch = _lit(patch, light_deg=light_deg, strength=config.degradation, rng=rng)
        place = _find_place(composition, patch, size_wh=(width, height), rng=rng)
        if place is not None:
            composition.place(patch, word=word, left=place[0], top=place[1], shadow=shadow)
    pixels = _degraded(composition.pixels, strength=config.degradation, rng=rng)
    return Scene(pixels=pixels, objects=composition.objects())


def draw_object(word: str, *, config: SyntheticConfig, side_px: int, rng: np.random.Generator) -> Pixels:
    """One object of that class in a random pose and palette: RGBA (h, w, 4) uint8, cut to its visible pixels."""
    kind = CLASSES[word]
    low, high = config.object_scale
    pose = Pose(
        extent_px=side_px * float(rng.uniform(low, high)),
        angle_deg=float(rng.uniform(-config.max_rotation_deg, config.max_rotation_deg)),
        stretch=float(np.exp(rng.normal(0.0, 0.1))),
        mirrored=bool(rng.random() < 0.5),
    )
    palette = draw_palette(kind.typical_colours, typical_rate=config.typical_colour_rate, rng=rng)
    outline = float(rng.uniform(0.012, 0.025)) if rng.random() < 0.45 else 0.0
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))]
    pen = Pen(pose, palette=palette, rng=rng, style=config.style, outline=outline, pattern=texture)
    kind.draw(pen)
    return pen.finish()


def _softened(alpha: Pixels) -> Pixels:
    """A blurred copy, by shrinking and growing it: far cheaper than a Gaussian, and as good for a shadow."""
    height, width = alpha.shape
    small = Image.fromarray(alpha).resize((max(1, width // 5), max(1, height // 5)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _draw_size(config: SyntheticConfig, rng: np.random.Generator) -> tuple[int, int]:
    longer = round(config.image_size * float(rng.uniform(*config.aspect_ratio)))
    return (config.image_size, longer) if rng.random() < 0.5 else (longer, config.image_size)


def _find_place(
    composition: Composition, patch: Pixels, *, size_wh: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int] | None:
    height, width = patch.shape[:2]
    # How far an object may reach over each edge: half the way to being hidden too much, were it a rectangle.
    reach = (1.0 - composition.min_visible) / 4
    for _ in range(_PLACEMENT_TRIES):
        across, down = rng.random(2)
        left = round(-reach * width + float(across) * (size_wh[0] - width * (1.0 - 2.0 * reach)))
        top = round(-reach * height + float(down) * (size_wh[1] - height * (1.0 - 2.0 * reach)))
        if composition.admits(patch, left=left, top=top):
            return left, top
    return None


def _lit(patch: Pixels, *, light_deg: float, strength: float, rng: np.random.Generator) -> Pixels:
    """The patch lit from one side, with a little grain."""
    height, width = patch.shape[:2]
    slope = strength * float(rng.uniform(0.2, 0.7)) * 256
    across = np.linspace(-0.5, 0.5, width) * np.cos(np.radians(light_deg))
    down = np.linspace(-0.5, 0.5, height) * np.sin(np.radians(light_deg))
    factor = (256 + slope * (across[None, :] + down[:, None])).astype(np.int32)[..., None]
    grain = rng.integers(-5, 6, (height, width, 1), dtype=np.int32)
    lit = patch.copy()
    lit[..., :3] = np.clip((patch[..., :3] * factor >> 8) + grain, 0, 255).astype(np.uint8)
    return lit


def _degraded(pixels: Pixels, *, strength: float, rng: np.random.Generator) -> Pixels:
    """The whole picture as a cheap camera would have it: exposure, a soft lens, sensor noise."""
    if strength <= 0.0:
        return pixels
    exposure = 256 * (1.0 + strength * float(rng.uniform(-0.35, 0.25)))
    noise_level = strength * float(rng.uniform(0.0, 12.0))
    if rng.random() < 0.5 * strength:
        radius = float(rng.uniform(0.3, 1.2)) * strength * 1.3
        pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    spread = max(1, round(noise_level))
    noise = rng.integers(-spread, spread + 1, pixels.shape, dtype=np.int8)
    bright = (pixels * np.int32(round(exposure))) >> 8
    noisy: Pixels = np.clip(bright + noise, 0, 255).astype(np.uint8)
    return noisy
