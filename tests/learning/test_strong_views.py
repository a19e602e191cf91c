"""Strong views change pixels only, repeat with their seed, and do each of the things they promise."""

from __future__ import annotations

import numpy as np

from xpm_stream.learning.strong_views import strong_view

PICTURE = np.tile(np.linspace(0, 255, 60, dtype=np.uint8)[None, :, None], (40, 1, 3)).copy()
PICTURE[..., 1] //= 2


def _views() -> list[np.ndarray]:
    return [strong_view(PICTURE, rng=np.random.default_rng(seed)) for seed in range(60)]


def test_size_and_type_stay_and_the_picture_itself_is_not_touched() -> None:
    before = PICTURE.copy()
    for view in _views():
        assert view.shape == PICTURE.shape
        assert view.dtype == np.uint8
    np.testing.assert_array_equal(PICTURE, before)


def test_a_seed_gives_the_same_view_again_and_another_seed_another() -> None:
    first, again = _views(), _views()
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({view.tobytes() for view in first}) > 50


def test_objects_stay_where_they_are() -> None:
    """What is left of the ramp still rises from left to right in every view."""
    ramp = np.arange(60)
    assert all(np.corrcoef(np.median(view[..., 0], axis=0), ramp)[0, 1] > 0.5 for view in _views())


def test_some_views_are_grey_and_most_have_something_cut_out() -> None:
    views = _views()
    grey = [bool((np.ptp(np.median(view, axis=0).astype(int), axis=1) <= 2).all()) for view in views]
    cut = [float(np.std(np.diff(view.astype(int), axis=0))) > 1 for view in views]  # the ramp has equal rows
    assert 3 <= sum(grey) <= 25  # a fifth of 60
    assert 40 <= sum(cut) <= 60  # all but 0.3 * 0.5 * 0.7 of them
