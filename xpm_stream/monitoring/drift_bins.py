"""The fixed bins on which a reference and its windows are compared.

Each watched quantity has bins made once from the reference: quantile bins for numbers, the most frequent words and
"other" for words, two bins for the share of values below a level. `BinLayout` puts the bins of all quantities side by
side, so that a label, a window or a reference is one row of counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from xpm_stream.errors import DataError
from xpm_stream.monitoring.drift_measures import LabelMeasures, Measure

OTHER_WORDS: Final = "(other words)"  # no noun has brackets

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class QuantileBins(msgspec.Struct, frozen=True, kw_only=True, tag="quantile"):
    """Bins of a number at the reference's quantiles; the outer two take in what lies beyond the reference's range."""

    quantity: Measure
    edges: list[float]  # ascending; bin i holds edges[i - 1] < value <= edges[i]
    representatives: list[float]  # mean reference value of each bin, ascending
    scale: float  # standard deviation of the reference's values; 0 where they are all the same

    def __post_init__(self) -> None:
        if len(self.representatives) != self.num_bins:
            raise ValueError(f"{self.quantity}: {len(self.representatives)} representatives for {self.num_bins} bins")
        if self.edges != sorted(set(self.edges)):
            raise ValueError(f"{self.quantity}: edges do not ascend")

    @property
    def num_bins(self) -> int:
        """Number of bins."""
        return len(self.edges) + 1


class ShareBins(msgspec.Struct, frozen=True, kw_only=True, tag="share"):
    """Two bins: values at or above a level, and values below it."""

    quantity: str
    measure: Measure
    below: float

    @property
    def num_bins(self) -> int:
        """Two."""
        return 2


class WordBins(msgspec.Struct, frozen=True, kw_only=True, tag="words"):
    """One bin for each of the reference's most frequent words, and a last one for all others."""

    quantity: str = "word"
    words: list[str]  # most frequent first

    @property
    def num_bins(self) -> int:
        """The words and the others."""
        return len(self.words) + 1


Bins = QuantileBins | ShareBins | WordBins


def make_quantile_bins(quantity: Measure, values: Sequence[float] | Floats, *, num_bins: int) -> QuantileBins:
    """Return at most `num_bins` bins of about equal reference counts.

    Values that fill several quantiles share one bin. A number with no more than `num_bins` different values has a bin
    for each. One that never varies has a bin for its value and empty ones below and above, so that a change shows.

    Raises:
        DataError: no values, or one that is not finite.
        ValueError: fewer than two bins.
    """
    if num_bins < 2:
        raise ValueError(f"{num_bins} bins tell nothing: at least 2")
    numbers = _finite(quantity, values)
    if not len(numbers):
        raise DataError(f"the reference has no values of {quantity}")
    edges = _quantile_edges(numbers, num_bins)
    places = np.searchsorted(edges, numbers)
    counts = np.bincount(places, minlength=len(edges) + 1)
    sums = np.bincount(places, weights=numbers, minlength=len(edges) + 1)
    nearest_edge = np.append(edges, edges[-1])  # for the empty outer bins of a number that never varies
    return QuantileBins(
        quantity=quantity,
        edges=edges.tolist(),
        representatives=np.where(counts > 0, sums / np.maximum(counts, 1), nearest_edge).tolist(),
        scale=float(numbers.std()) if numbers.min() < numbers.max() else 0.0,
    )


def make_word_bins(words: Iterable[str], *, top: int) -> WordBins:
    """Return bins of the `top` most frequent words; equally frequent ones in the order of the alphabet."""
    ranked = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    return WordBins(words=[word for word, _ in ranked[:top]])


class BinLayout:
    """The bins of all quantities side by side: the columns of every row of counts."""

    def __init__(self, bins: Sequence[Bins]) -> None:
        self.bins = tuple(bins)
        ends = np.cumsum([one.num_bins for one in self.bins]).tolist()
        self._columns = {one.quantity: slice(end - one.num_bins, end) for one, end in zip(self.bins, ends, strict=True)}
        self.num_columns: int = ends[-1] if ends else 0
        self._places_of_words = {
            one.quantity: {word: place for place, word in enumerate(one.words)}
            for one in self.bins
            if isinstance(one, WordBins)
        }

    def columns(self, quantity: str) -> slice:
        """Return where a quantity's bins are in a row of counts."""
        return self._columns[quantity]

    def count(self, labels: Sequence[LabelMeasures]) -> Counts:
        """Return how many values of each label fall in each bin, shape (labels, columns).

        Raises:
            DataError: a value that is not finite.
        """
        counts = np.zeros((len(labels), self.num_columns), dtype=np.int64)
        for one in self.bins:
            lengths, places = self._places(one, labels)
            rows = np.repeat(np.arange(len(labels)), lengths)
            flat = np.bincount(rows * one.num_bins + places, minlength=len(labels) * one.num_bins)
            counts[:, self._columns[one.quantity]] = flat.reshape(len(labels), one.num_bins)
        return counts

    def _places(self, bins: Bins, labels: Sequence[LabelMeasures]) -> tuple[list[int], NDArray[np.intp]]:
        """Return how many values each label has, and the bin of each value."""
        if isinstance(bins, WordBins):
            place_of, other = self._places_of_words[bins.quantity], len(bins.words)
            found = [place_of.get(word, other) for label in labels for word in label.words]
            return [len(label.words) for label in labels], np.array(found, dtype=np.intp)
        measure = bins.measure if isinstance(bins, ShareBins) else bins.quantity
        each = [label.values(measure) for label in labels]
        values = _finite(measure, list(chain.from_iterable(each)))
        lengths = [len(some) for some in each]
        if isinstance(bins, ShareBins):
            return lengths, (values < bins.below).astype(np.intp)
        return lengths, np.searchsorted(np.array(bins.edges), values)


def _finite(quantity: str, values: Sequence[float] | Floats) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(f"a label has a {quantity} that is not finite: leave out what the teacher does not give")
    return numbers


def _quantile_edges(values: Floats, num_bins: int) -> Floats:
    distinct = np.unique(values)
    if len(distinct) == 1:
        margin = 1e-6 * max(1.0, abs(distinct[0]))  # above the rounding of float32, in which labels travel
        return np.array([distinct[0] - margin, distinct[0] + margin])
    if len(distinct) <= num_bins:
        last_below = distinct[:-1]
    else:
        levels = np.arange(1, num_bins) / num_bins
        quantiles = np.quantile(values, levels, method="inverted_cdf")
        # Above an edge at the maximum would be nothing; one step lower, values heaped at the maximum get their own bin.
        last_below = np.unique(np.minimum(quantiles, distinct[-2]))
    # Halfway to the next value, so that the rounding of a value that recurs does not carry it over the edge.
    following = distinct[np.searchsorted(distinct, last_below) + 1]
    halfway = last_below + (following - last_below) / 2
    edges: Floats = np.minimum(halfway, np.nextafter(following, -np.inf))
    return edges
