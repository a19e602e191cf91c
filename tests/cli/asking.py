"""What the command-line tests call their fixtures by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


Ask = Callable[..., Answer]
Refused = Callable[..., str]
