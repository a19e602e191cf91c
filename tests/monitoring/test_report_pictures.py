"""Best and worst pseudo masks: chosen by reliability, one of an image, on one noise scale."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from xpm_stream.monitoring.pictures import PictureExample, PictureInstance
from xpm_stream.monitoring.report_pictures import best_and_worst


def example(name: str, *reliabilities: float | None, noise: float | None = 0.2) -> PictureExample:
    rng = np.random.default_rng(len(name))
    return PictureExample(
        pixels=rng.integers(0, 255, (90, 120, 3), dtype=np.uint8),
        caption=f"a caption of {name}",
        instances=[
            PictureInstance(
                word=f"{name}{place}",
                box_xyxy=(10.0, 10.0, 80.0, 70.0),
                mask=np.ones((28, 28)),
                noise=None if noise is None else np.full((28, 28), noise + place),
                reliability=reliability,
            )
            for place, reliability in enumerate(reliabilities)
        ],
        note=name,
    )


def test_the_most_and_the_least_reliable_objects_are_chosen_one_of_an_image() -> None:
    examples = [example("a", 0.9, 0.8), example("b", 0.1), example("c", 0.5, 0.2), example("d", 0.7)]
    chosen = best_and_worst(examples, each=2)
    assert [(one.word, one.reliability) for one in chosen.best] == [("a0", 0.9), ("d0", 0.7)]
    assert [(one.word, one.reliability) for one in chosen.worst] == [("b0", 0.1), ("c1", 0.2)]
    assert (chosen.num_images, chosen.num_objects) == (4, 6)
    assert chosen.best[0].caption == "a caption of a"


def test_no_object_is_best_and_worst() -> None:
    chosen = best_and_worst([example("a", 0.9), example("b", 0.1)], each=4)
    assert [one.word for one in chosen.best] == ["a0", "b0"]
    assert chosen.worst == []


def test_objects_without_reliability_are_not_ranked() -> None:
    chosen = best_and_worst([example("a", None), example("b", 0.4, None)])
    assert [one.word for one in chosen.best] == ["b0"]
    assert chosen.num_objects == 1


def test_pictures_are_small_images_inside_the_page_and_noise_is_left_out_where_there_is_none() -> None:
    chosen = best_and_worst([example("a", 0.9, noise=None)])
    (one,) = chosen.best
    assert one.noise is None
    assert chosen.noise_ends is None
    kind, _, data = one.masked.partition(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (360, 270)
    assert best_and_worst([example("a", 0.9)]).best[0].noise is not None
