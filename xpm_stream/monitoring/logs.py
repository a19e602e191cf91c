"""Structured logs: readable on a terminal, JSON lines otherwise and in the run folder, never a password."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]


def configure_logging(
    role: str,
    *,
    level: Level = "info",
    run_folder: str | Path | None = None,
    console: Literal["auto", "human", "json", "off"] = "auto",
) -> structlog.stdlib.BoundLogger:
    """Set up this process's logging once, at its start, and return its logger.

    Every line carries `role` and `pid`. The console is standard error: `human` when it is a terminal, else `json`.
    With `run_folder`, JSON lines are also appended to `logs/<role>.jsonl` in it. Records of other libraries
    (standard `logging`, warnings) go the same way. Passwords in URLs and fields are masked.

    Raises:
        ConfigError: the log file cannot be opened.
    """
    raise NotImplementedError


def mask_secrets(text: str) -> str:
    """Return `text` with the passwords of URLs and of `password=`-like fields replaced by `***`."""
    raise NotImplementedError
