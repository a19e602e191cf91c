"""The drawn scenes: masks are exactly what is visible, boxes are tight, occlusion is bounded, classes vary."""

import numpy as np
import pytest

from xpm_stream.data.synthetic import PRESETS, SyntheticConfig
from xpm_stream.data.synthetic.catalog import CLASSES
from xpm_stream.data.synthetic.scene import Composition, compose_scene, draw_object


def a_square(side: int, colour: tuple[int, int, int], *, alpha: int = 255) -> np.ndarray:
    return np.broadcast_to(np.array([*colour, alpha], np.uint8), (side, side, 4)).copy()


def a_crowded_config(**changes: object) -> SyntheticConfig:
    settings = {"objects": (4, 5), "object_scale": (0.3, 0.6), "image_size": 96, "min_visible": 0.4, **changes}
    return SyntheticConfig(**settings)  # type: ignore[arg-type]


def some_scenes(config: SyntheticConfig, *, number: int = 25):
    words = list(CLASSES)
    for index in range(number):
        rng = np.random.default_rng([7, index])
        yield compose_scene(config, words=[words[int(k)] for k in rng.integers(len(words), size=5)], rng=rng)


def test_the_nearer_object_takes_the_pixels_that_both_cover() -> None:
    composition = Composition(np.zeros((20, 20, 3), np.uint8), min_visible=0.3)
    composition.place(a_square(10, (200, 0, 0)), word="cup", left=2, top=2)
    composition.place(a_square(10, (0, 200, 0)), word="car", left=7, top=7)
    far, near = composition.objects()
    expected = np.zeros((20, 20), bool)
    expected[2:12, 2:12] = True
    expected[7:12, 7:12] = False
    assert np.array_equal(far.mask, expected)
    assert near.mask.sum() == 100
    assert far.box_xyxy == (2, 2, 12, 12)
    assert far.visible == pytest.approx(0.75)
    assert np.array_equal(far.mask, composition.pixels[..., 0] == 200)
    assert np.array_equal(near.mask, composition.pixels[..., 1] == 200)


def test_an_object_that_would_hide_too_much_of_another_is_not_admitted() -> None:
    composition = Composition(np.zeros((20, 20, 3), np.uint8), min_visible=0.6)
    composition.place(a_square(10, (200, 0, 0)), word="cup", left=5, top=5)
    assert not composition.admits(a_square(10, (0, 200, 0)), left=7, top=7)  # leaves 36 of 100 pixels
    assert composition.admits(a_square(10, (0, 200, 0)), left=10, top=10)  # leaves 75


def test_an_object_too_far_outside_the_image_is_not_admitted() -> None:
    composition = Composition(np.zeros((20, 20, 3), np.uint8), min_visible=0.6)
    assert not composition.admits(a_square(10, (200, 0, 0)), left=-5, top=0)
    assert composition.admits(a_square(10, (200, 0, 0)), left=-3, top=0)
    assert not composition.admits(a_square(10, (200, 0, 0)), left=40, top=0)


def test_a_pixel_less_than_half_covered_belongs_to_what_lies_behind() -> None:
    composition = Composition(np.zeros((20, 20, 3), np.uint8), min_visible=0.1)
    composition.place(a_square(10, (200, 0, 0)), word="cup", left=0, top=0)
    glassy = a_square(10, (0, 200, 0), alpha=127)
    glassy[:, 0, 3] = 128
    composition.place(glassy, word="car", left=0, top=0)
    assert [item.mask.sum() for item in composition.objects()] == [90, 10]


@pytest.mark.parametrize("style", ["filled", "sketch"])
def test_masks_are_exactly_the_pixels_drawn(style: str) -> None:
    """Without lens and light, a pixel changes when an object is drawn over it, and only there."""
    config = a_crowded_config(style=style, degradation=0.0, objects=(1, 1), distractors=(0, 0))
    compared = 0
    for index, word in enumerate(list(CLASSES)[::4]):
        with_object = compose_scene(config, words=[word], rng=np.random.default_rng([1, index]))
        without = compose_scene(config, words=[], rng=np.random.default_rng([1, index]))
        (item,) = with_object.objects
        changed = (with_object.pixels != without.pixels).any(axis=2)
        edge = near(item.mask)
        assert not (changed & ~edge).any(), f"{word}: drawn outside its mask"
        missed = item.mask & ~changed
        assert missed.sum() <= 0.02 * item.mask.sum(), f"{word}: mask where nothing is drawn"
        compared += int(changed.sum())
    assert compared > 1000


def near(mask: np.ndarray) -> np.ndarray:
    """The mask grown by a pixel in eight directions."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    return np.logical_or.reduce([padded[dy : dy + height, dx : dx + width] for dy, dx in shifts])


def test_masks_never_overlap_and_boxes_are_tight() -> None:
    seen = 0
    for scene in some_scenes(a_crowded_config()):
        height, width = scene.pixels.shape[:2]
        total = np.zeros((height, width), int)
        for item in scene.objects:
            total += item.mask
            x0, y0, x1, y1 = item.box_xyxy
            inside = item.mask[y0:y1, x0:x1]
            assert inside.sum() == item.mask.sum()
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
            seen += 1
        assert total.max() <= 1
    assert seen > 60


def test_every_object_keeps_the_visible_fraction_that_was_asked_for() -> None:
    fractions = [item.visible for scene in some_scenes(a_crowded_config()) for item in scene.objects]
    assert min(fractions) >= 0.4
    assert sum(fraction < 0.95 for fraction in fractions) > 10, "scenes this crowded must occlude"


@pytest.mark.parametrize("style", ["filled", "sketch"])
@pytest.mark.parametrize("word", sorted(CLASSES))
def test_every_class_fills_a_fair_part_of_its_frame(word: str, style: str) -> None:
    config = SyntheticConfig(style=style, object_scale=(0.5, 0.5), max_rotation_deg=0.0)  # type: ignore[arg-type]
    for seed in range(3):
        patch = draw_object(word, config=config, side_px=160, rng=np.random.default_rng(seed))
        height, width = patch.shape[:2]
        assert 40 <= max(height, width) <= 110  # the frame is 80 pixels; stretch and swinging parts may exceed it
        solid = (patch[..., 3] >= 128).sum()
        assert solid > 0.06 * 80 * 80


def test_objects_of_one_class_vary_in_shape_and_colour() -> None:
    config = PRESETS["quickstart"]
    for word in ("cup", "tree", "fish"):
        patches = [draw_object(word, config=config, side_px=160, rng=np.random.default_rng(seed)) for seed in range(12)]
        assert len({patch.shape for patch in patches}) > 8
        means = np.array([patch[patch[..., 3] >= 128][:, :3].mean(axis=0) for patch in patches])
        assert means.std(axis=0).min() > 15.0


def test_a_rectangular_image_has_the_aspect_ratio_that_was_asked_for() -> None:
    config = SyntheticConfig(aspect_ratio=(1.5, 1.5), image_size=64)
    shapes = {scene.pixels.shape for scene in some_scenes(config, number=10)}
    assert shapes == {(64, 96, 3), (96, 64, 3)}


def test_whole_objects_are_drawn_where_nothing_may_be_hidden() -> None:
    scenes = list(some_scenes(a_crowded_config(min_visible=1.0, object_scale=(0.2, 0.4))))
    assert all(item.visible == 1.0 for scene in scenes for item in scene.objects)
    assert all(scene.objects for scene in scenes)
