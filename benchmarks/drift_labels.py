"""Labels drawn from a simple model of a stream, as drift sees them, with shifts of a stated size. No images, no torch.

An image has a quality of its own that all its instances share, so that values within a label resemble each other, as
they do in real labels. Consecutive images may share a part of it (`run_length`), as those of one web page do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from xpm_stream.monitoring.drift_measures import LabelMeasures

Floats = NDArray[np.float64]
WORDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelModel:
    """Where labels come from; the defaults are the stream before any shift."""

    noisy_share: float = 0.1  # instances whose word is not in the image: of low reliability and score
    other_domain_share: float = 0.0  # images of another domain: smaller boxes, less certain teacher
    vanished_word: int | None = None  # rank of a word that no caption has any more, 0: the most frequent
    empty_share: float = 0.03  # labels without an instance
    captions_without_nouns: float = 0.02
    run_length: int = 1  # consecutive images that share half the variance of their quality

    def draw(self, labels: int, rng: np.random.Generator) -> list[LabelMeasures]:
        """Return so many labels, in stream order."""
        instances = np.where(rng.random(labels) < self.empty_share, 0, 1 + rng.poisson(1.5, labels))
        of_label = np.repeat(np.arange(labels), instances)
        quality = self._quality(labels, rng)[of_label]
        domain = (rng.random(labels) < self.other_domain_share)[of_label]
        noisy = rng.random(len(of_label)) < self.noisy_share

        def noise(scale: float) -> Floats:
            return scale * rng.standard_normal(len(of_label))

        reliability = expit(1.0 + 0.6 * quality + noise(0.8) - 1.8 * noisy - 0.7 * domain)
        score = expit(0.4 + 0.5 * quality + noise(0.7) - 0.8 * noisy - 0.4 * domain)
        area = expit(-1.8 + 0.3 * quality + noise(0.9) - 0.8 * domain)
        nouns = np.where(rng.random(labels) < self.captions_without_nouns, 0, 1 + rng.poisson(1.8, labels))
        words = [f"word{rank}" for rank in self._words(len(of_label), rng).tolist()]
        ends = np.cumsum(instances).tolist()
        columns = [values.tolist() for values in (score, reliability, area)]
        return [
            LabelMeasures(
                scores=columns[0][end - some : end],
                reliabilities=columns[1][end - some : end],
                box_area_shares=columns[2][end - some : end],
                nouns_per_caption=[number],
                words=words[end - some : end],
            )
            for end, some, number in zip(ends, instances.tolist(), nouns.tolist(), strict=True)
        ]

    def _quality(self, labels: int, rng: np.random.Generator) -> Floats:
        own = rng.standard_normal(labels)
        if self.run_length == 1:
            return own
        shared = np.repeat(rng.standard_normal(labels // self.run_length + 1), self.run_length)[:labels]
        mixed: Floats = np.sqrt(0.5) * (own + shared)
        return mixed

    def _words(self, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
        weights = 1.0 / (np.arange(WORDS) + 5)
        if self.vanished_word is not None:
            weights[self.vanished_word] = 0.0
        return rng.choice(WORDS, size=number, p=weights / weights.sum())
