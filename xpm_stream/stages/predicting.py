"""A checkpoint as a model that finds objects by name in people's own images: `xpm_stream.load`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import overload

import torch

from xpm_stream.config import RunConfig
from xpm_stream.errors import CheckpointError, ConfigError, DataError, TextError
from xpm_stream.methods.base import RatedDetector
from xpm_stream.methods.found_objects import FoundObjects
from xpm_stream.networks.text_encoder import Wordpieces
from xpm_stream.registry.checkpoint_folder import CheckpointFolder
from xpm_stream.registry.pulling import PullProgress, pull_checkpoint
from xpm_stream.stages.devices import autocast, choose_device
from xpm_stream.stages.given_images import GivenImage, Pixels, name_of, pixels_of
from xpm_stream.stages.loaded_model import LoadedModel, model_of_files, require_trusted_method
from xpm_stream.stages.network_files import (
    NETWORK_FILES,
    checkpoint_base_classes,
    checkpoint_config,
    checkpoint_words,
)
from xpm_stream.stages.predictions import Prediction, Predictions


class Predictor:
    """A checkpoint that finds objects by name."""

    def __init__(self, loaded: LoadedModel, *, folder: Path, base_classes: Sequence[str], words: Sequence[str]) -> None:
        """`folder` holds the checkpoint's files; `words` are all it learned, base classes included.

        Raises:
            ConfigError: the checkpoint's method cannot say how reliable what it finds is.
        """
        if not isinstance(loaded.method, RatedDetector):
            raise ConfigError(
                f"checkpoint {loaded.name} is of method {loaded.config.method}, which has no detect_rated "
                "(xpm_stream.methods.base.RatedDetector), and predict() asks for that"
            )
        self.name = loaded.name
        self.folder = folder
        self.base_classes = list(base_classes)
        self.words = list(words)
        self.loaded = loaded  # its `detect` is what `evaluate` judges
        self._method: RatedDetector = loaded.method
        self._learned = {word.casefold(): word for word in reversed(words)} | {word: word for word in words}
        self._known = {word.casefold() for word in words}  # to mean something to the text encoder

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.loaded.device

    @property
    def config(self) -> RunConfig:
        """The configuration the checkpoint was trained with."""
        return self.loaded.config

    @overload
    def predict(
        self,
        images: GivenImage,
        words: Sequence[str],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        batch_images: int | None = None,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: list[GivenImage] | tuple[GivenImage, ...],
        words: Sequence[str],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        batch_images: int | None = None,
    ) -> Predictions: ...

    def predict(
        self,
        images: GivenImage | list[GivenImage] | tuple[GivenImage, ...],
        words: Sequence[str],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        batch_images: int | None = None,
    ) -> Prediction | Predictions:
        """Find objects by name in an image, or in each of a list of images.

        Args:
            images: paths, URLs, Pillow images, NumPy arrays or torch tensors of any size, as `given_images.pixels_of`
                takes them; one, or a list.
            words: what to look for. A score is the probability of a word among these and the background, so the words
                are one question: other words, other scores. Any text will do; a word that is given twice counts once.
            score_threshold: what scores no higher is left out; none: as `evaluate` does (0.05 unless configured).
            max_detections: most objects of an image; none: as `evaluate` does (100 unless configured).
            batch_images: images read together, of which those of one size go through the network together, so that what
                is found in an image does not depend on its neighbours; none: as `evaluate` does.

        Raises:
            DataError: an image cannot be read, there are no words, or a limit is out of range.
            TextError: a word means nothing to the text encoder, or needs one that is not here.
        """
        find = partial(
            self.predict_each,
            words=words,
            score_threshold=score_threshold,
            max_detections=max_detections,
            batch_images=batch_images,
        )
        if isinstance(images, list | tuple):
            return Predictions(find(images))
        (found,) = find([images])
        return found

    def predict_each(
        self,
        images: Iterable[GivenImage],
        words: Sequence[str],
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        batch_images: int | None = None,
        on_error: Callable[[GivenImage, DataError], None] | None = None,
    ) -> Iterator[Prediction]:
        """Yield what `predict` returns, image after image; no more than a batch is held in memory.

        With `on_error`, an image that cannot be read is told to it, and left out.
        """
        asked = _distinct(words)
        self._require_meaning(asked)
        settings = self.config.evaluation
        threshold = settings.score_threshold if score_threshold is None else score_threshold
        limit = settings.max_detections if max_detections is None else max_detections
        size = settings.batch_images if batch_images is None else batch_images
        if not 0.0 <= threshold <= 1.0 or limit < 1 or size < 1:
            raise DataError(
                f"score_threshold is 0..1, max_detections and batch_images are at least 1, not {threshold}, {limit}, "
                f"{size}"
            )
        waiting = iter(images)
        while batch := list(islice(waiting, size)):
            readable = self._read(batch, on_error=on_error)
            yield from self._predict_batch(readable, asked, score_threshold=threshold, max_detections=limit)

    def _read(
        self, images: Sequence[GivenImage], *, on_error: Callable[[GivenImage, DataError], None] | None
    ) -> list[tuple[GivenImage, Pixels]]:
        readable = []
        for image in images:
            try:
                readable.append((image, self._pixels_of(image)))
            except DataError as error:
                if on_error is None:
                    raise
                on_error(image, error)
        return readable

    def _pixels_of(self, image: GivenImage) -> Pixels:
        return pixels_of(image, max_pixels=self.config.data.max_image_pixels)

    def _predict_batch(
        self,
        images: Sequence[tuple[GivenImage, Pixels]],
        words: Sequence[str],
        *,
        score_threshold: float,
        max_detections: int,
    ) -> list[Prediction]:
        # Dog is the dog that was learned: its embedding may be all there is.
        spelt = {self._learned.get(word, self._learned.get(word.casefold(), word)): word for word in words}
        find = partial(
            self._method.detect_rated,
            words=list(spelt),
            score_threshold=score_threshold,
            max_detections=max_detections,
        )
        with autocast(self.device, precision=self.config.evaluation.precision):
            found = _by_size([own for _, own in images], find)
        return [
            self._prediction(
                objects, spelt=spelt, pixels=own, name=name_of(image), read_pixels=partial(self._pixels_of, image)
            )
            for objects, (image, own) in zip(found, images, strict=True)
        ]

    def _prediction(
        self,
        objects: FoundObjects,
        *,
        spelt: Mapping[str, str],
        pixels: Pixels,
        name: str | None,
        read_pixels: Callable[[], Pixels],
    ) -> Prediction:
        return Prediction(
            boxes=objects.boxes_xyxy,
            scores=objects.scores,
            words=[spelt[word] for word in objects.class_names],
            reliability=objects.reliability,
            rles=objects.masks,
            size_wh=(pixels.shape[1], pixels.shape[0]),
            asked=tuple(spelt.values()),
            model=self.name,
            name=name,
            read_pixels=read_pixels,
        )

    def _require_meaning(self, words: Sequence[str]) -> None:
        """Refuse words that all have one embedding, that of everything unknown: any object would do for them."""
        new = [word for word in words if word.casefold() not in self._known]
        if not new:
            return
        try:
            pieces = Wordpieces(self.config.text)
        except TextError:
            return  # whoever embeds these words says what is missing
        unknown = [word for word in new if not pieces.knows(word)]
        if unknown:
            raise TextError(
                f"the text encoder {self.config.text.encoder!r} knows nothing of {', '.join(map(repr, unknown))}: use "
                "other words, in its language and script"
            )
        self._known.update(word.casefold() for word in new)


def load_predictor(
    url: str | Path,
    *,
    revision: str | int = "champion",
    device: str | torch.device | None = None,
    cache: str | Path | None = None,
    on_progress: Callable[[PullProgress], None] | None = None,
) -> Predictor:
    """Pull a checkpoint into the cache and load it: what `xpm_stream.load` does, with its errors."""
    chosen = choose_device("auto" if device is None else str(device))
    folder = pull_checkpoint(url, revision, cache, on_progress)
    name = CheckpointFolder.alone(folder).info().name
    files = _read_files(folder, name=name)
    config = checkpoint_config(files, name=name)
    require_trusted_method(config.method, None, name)
    # A folder of the machine it was trained on; here embeddings go where the user's are.
    config = config.model_copy(update={"text": config.text.model_copy(update={"cache": None})})
    loaded = model_of_files(files, name=name, config=config, device=chosen)
    base_classes = checkpoint_base_classes(files, name=name)
    words = list(dict.fromkeys([*base_classes, *checkpoint_words(files, name=name)]))
    return Predictor(loaded, folder=folder, base_classes=base_classes, words=words)


def _read_files(folder: Path, *, name: str) -> dict[str, bytes]:
    """The files that were pulled, and checked, just now."""
    try:
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.name in NETWORK_FILES}
    except OSError as error:
        raise CheckpointError(f"checkpoint {name} in {folder} cannot be read: {error.strerror or error}") from error


def _by_size(
    pixels: Sequence[Pixels], find: Callable[[Sequence[Pixels]], Sequence[FoundObjects]]
) -> list[FoundObjects]:
    """Find objects in images of one size together: padding to another's size would move scores at an image's edges."""
    places: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, image in enumerate(pixels):
        places[image.shape].append(place)
    found: dict[int, FoundObjects] = {}
    for same in places.values():
        found.update(zip(same, find([pixels[place] for place in same]), strict=True))
    return [found[place] for place in range(len(pixels))]


def _distinct(words: Sequence[str]) -> list[str]:
    """The words, each once however it is capitalised and spaced, spelt as it came first."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        what = f"the text {words!r}" if isinstance(words, str) else repr(words)
        raise DataError(f"words is a list of words, not {what}: words=['astronaut', 'dinosaur']")
    first: dict[str, str] = {}
    for word in words:
        if not isinstance(word, str):
            raise DataError(f"a word to look for is text, not {word!r}")
        spelt = " ".join(word.split())
        if not spelt:
            raise DataError("a word to look for is empty")
        first.setdefault(spelt.casefold(), spelt)
    if not first:
        raise DataError("no words to look for: words=['astronaut', 'dinosaur'], or model.words for all that it learned")
    return list(first.values())
