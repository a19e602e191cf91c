"""Moments in words, always in UTC and saying so."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(time_s: float) -> str:
    """Return a Unix time as `2026-11-20 12:34:56 UTC`."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
