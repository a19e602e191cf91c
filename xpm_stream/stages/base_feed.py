"""Base images in an endless, seeded, resumable order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpm_stream.data.base_set import BaseImage, BaseSampler, BaseSet


class BaseFeed:
    """Takes images of a base set in the order of its sampler; several ranks take turns in the same order."""

    def __init__(self, base_set: BaseSet, *, seed: int, rank: int = 0, num_ranks: int = 1) -> None:
        self._base_set = base_set
        self._sampler = BaseSampler(base_set, seed=seed)
        self._rank = rank
        self._num_ranks = num_ranks

    def take(self, count: int) -> list[BaseImage]:
        """Return this rank's next `count` images, decoded; the images between them are the other ranks'."""
        of_all = self._sampler.take(count * self._num_ranks)
        return [self._base_set[index] for index in of_all[self._rank * count : (self._rank + 1) * count]]

    def state(self) -> dict[str, Any]:
        """Return the place in the order, JSON-able."""
        return self._sampler.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a place returned by `state()`."""
        self._sampler.load_state(dict(state))
