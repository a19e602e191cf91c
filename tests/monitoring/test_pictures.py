from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from xpm_stream.errors import DataError
from xpm_stream.monitoring.picture_parts import (
    INK,
    OBJECT_COLOURS,
    bar_colour,
    blend_heat,
    blend_mask,
    fit,
    font,
    heat_colours,
    wrap_words,
)
from xpm_stream.monitoring.pictures import PictureExample, PictureInstance, colour_caption, draw_figure, save_figure

DISC = np.hypot(*np.mgrid[-1:1:28j, -1:1:28j]) < 0.9


def instance(word="dog", box=(10, 10, 60, 50), **changes):
    return PictureInstance(word=word, box_xyxy=box, mask=DISC, **changes)


def example(instances, *, caption="A dog.", size=(80, 120)):
    return PictureExample(pixels=np.full((*size, 3), 128, np.uint8), caption=caption, instances=instances)


def texts(words, colour):
    return [word.text for word in words if word.colour == colour]


def test_a_mask_tints_its_inside_and_leaves_the_rest_alone():
    grey = np.full((80, 120, 3), 128, np.uint8)
    blended = blend_mask(grey, np.ones((28, 28)), (20, 20, 60, 60), colour=(255, 0, 0))
    assert blended[40, 40].tolist() == [181, 74, 74]  # 0.42 of the way to red
    assert blended[20, 40].tolist() == [255, 0, 0]  # the outline
    assert blended[19, 40].min() > 200  # the white rim
    untouched = np.ones((80, 120), bool)
    untouched[18:62, 18:62] = False
    assert (blended[untouched] == 128).all()


def test_noise_is_coloured_by_the_shared_scale_inside_its_box_only():
    grey = np.full((60, 60, 3), 200, np.uint8)
    quiet = blend_heat(grey, np.full((28, 28), 0.1), (10, 10, 50, 50), low=0.1, high=0.9)
    loud = blend_heat(grey, np.full((28, 28), 0.9), (10, 10, 50, 50), low=0.1, high=0.9)
    assert quiet[30, 30].sum() < 200 < 500 < loud[30, 30].sum()
    assert np.array_equal(quiet[:9], loud[:9])
    assert len(np.unique(quiet[:9])) == 1


def test_heat_grows_lighter_with_noise_so_that_it_reads_without_colour():
    lightness = heat_colours(np.linspace(0, 1, 50)).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all()
    assert np.array_equal(heat_colours(np.array([-1.0, 2.0])), heat_colours(np.array([0.0, 1.0])))


def test_reliability_bars_go_red_amber_green():
    assert len({bar_colour(share) for share in (0.0, 0.5, 1.0)}) == 3
    assert bar_colour(1.0) == bar_colour(0.9) == bar_colour(1.7)


def test_fitting_keeps_the_shape_of_the_image():
    assert fit(np.zeros((100, 200, 3), np.uint8), width=100, height=100).shape == (50, 100, 3)
    assert fit(np.zeros((400, 100, 3), np.uint8), width=100, height=100).shape == (100, 25, 3)


def test_caption_nouns_take_their_objects_colours_also_in_the_plural():
    words = colour_caption("Two Wolves, a hot dog, dogs and dogma: city buses.", ["dog", "hot dog", "wolf", "bus"])
    assert texts(words, OBJECT_COLOURS[0]) == ["dogs"]
    assert texts(words, OBJECT_COLOURS[1]) == ["hot", "dog"]
    assert texts(words, OBJECT_COLOURS[2]) == ["Wolves"]
    assert texts(words, OBJECT_COLOURS[3]) == ["buses"]
    assert texts(words, INK) == ["Two", ",", "a", ",", "and", "dogma:", "city", "."]
    assert "".join(word.text if word.glued else f" {word.text}" for word in words)[1:] == (
        "Two Wolves, a hot dog, dogs and dogma: city buses."
    )


def test_long_captions_wrap_and_end_in_an_ellipsis():
    lines = wrap_words(colour_caption("word " * 100, []), width=200, size=15, max_lines=3)
    assert len(lines) == 3
    assert lines[-1][-1].text == "..."
    for line in lines:
        assert font(15).getlength("".join(word.text for word in line)) <= 200


@pytest.mark.parametrize(
    "instances",
    [
        [],
        [instance()],
        [instance(reliability=0.5)],
        [instance(noise=np.random.default_rng(0).random((28, 28)), reliability=1.5, right=True)],
        [instance("umbrella", (-50, -50, 500, 500), noise=np.zeros((14, 14)), right=False)],
        [instance("dot", (119, 79, 120, 80)), instance("nothing", (5, 5, 5, 5))],
        [instance(f"thing {number}") for number in range(9)],
    ],
)
@pytest.mark.parametrize("size", [(80, 120), (200, 40), (20, 300)])
def test_every_kind_of_example_is_drawn_at_the_asked_width(instances, size):
    picture = draw_figure([example(instances, size=size)], width=900)
    assert picture.width == 900
    assert 150 < picture.height < 900


def test_noise_colours_are_comparable_between_examples():
    levels = [example([instance(noise=np.full((28, 28), level))], caption="") for level in (0.2, 0.5, 0.8)]
    pixels = np.asarray(draw_figure(levels))
    found = {tuple(colour) for colour in pixels.reshape(-1, 3)}
    faded = 150 + 128 * 0.4
    for share in (0.0, 0.5, 1.0):
        wanted = tuple((0.9 * heat_colours(np.array(share)) + 0.1 * int(faded)).astype(np.uint8).tolist())
        assert wanted in found


def test_examples_share_rows_where_they_fit_and_none_is_lost():
    one = example([instance()])
    single = draw_figure([one]).height
    assert draw_figure([one, one]).height == single
    assert draw_figure([one, one, one]).height > single


def test_the_picture_is_written_as_png_in_a_new_folder(tmp_path):
    path = save_figure([example([instance(reliability=0.5)])], tmp_path / "pictures" / "grid.png", title="Five")
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        assert opened.width == 1360


def test_nothing_to_draw_and_images_of_another_kind_are_refused():
    with pytest.raises(DataError, match="no example"):
        draw_figure([])
    wrong = PictureExample(pixels=np.zeros((8, 8), np.uint8), caption="", instances=[])
    with pytest.raises(DataError, match=r"uint8 H x W x 3, not uint8 \(8, 8\)"):
        draw_figure([wrong])
    with pytest.raises(DataError, match="not finite"):
        draw_figure([example([instance(noise=np.full((28, 28), np.nan))])])
