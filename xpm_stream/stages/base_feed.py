"""Base images in an endless, seeded, resumable order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpm_stream.data.base_set import BaseImage, BaseSampler, BaseSet


class BaseFeed:
    """Takes images of a base set in the order of its sampler."""

    def __init__(self, base_set: BaseSet, *, seed: int) -> None:
        self._base_set = base_set
        self._sampler = BaseSampler(base_set, seed=seed)

    def take(self, count: int) -> list[BaseImage]:
        """Return the next `count` images, decoded."""
        return [self._base_set[index] for index in self._sampler.take(count)]

    def state(self) -> dict[str, Any]:
        """Return the place in the order, JSON-able."""
        return self._sampler.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a place returned by `state()`."""
        self._sampler.load_state(dict(state))
