"""Names of the small method that the tests of the stages share."""

from __future__ import annotations

from collections.abc import Callable

from xpm_stream.config import RunConfig
from xpm_stream.methods.base import Method

BASE_CLASSES = ["dog", "car", "cup"]

MakeConfig = Callable[..., RunConfig]
MakeMethod = Callable[..., Method]
