"""A run at a glance: what `xpm-stream status` draws and prints as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from xpm_stream.config import config_of_run
from xpm_stream.monitoring.concerns import Concern, concerns_of
from xpm_stream.monitoring.report_timeline import reliability_quantiles
from xpm_stream.monitoring.standing import Absent, RunStanding
from xpm_stream.stages.run_standing import stand

_TREND_WINDOWS: Final = 60


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A run's standing, and what is to be said of it."""

    standing: RunStanding
    concerns: list[Concern]

    @property
    def healthy(self) -> bool:
        """Whether nothing needs a person."""
        return not any(concern.needs_person for concern in self.concerns)

    def as_json(self) -> bytes:
        """Return it for scripts: of the drift windows the newest, and the trend of median reliability."""
        tree: dict[str, Any] = msgspec.to_builtins(self.standing)
        windows = self.standing.windows
        absent = isinstance(windows, Absent)
        tree["windows"] = msgspec.to_builtins(windows) if absent else None
        tree["last_window"] = msgspec.to_builtins(self.standing.last_window)
        tree["median_reliability"] = [
            None if (row := reliability_quantiles(record)) is None else row[2]
            for record in ([] if isinstance(windows, Absent) else windows)
        ]
        return msgspec.json.format(
            msgspec.json.encode({"healthy": self.healthy, "concerns": msgspec.to_builtins(self.concerns), **tree})
        )


def look(run: Path, *, earlier: Status | None = None) -> Status:
    """Look at a run once; `earlier` is the last look, where there was one.

    Raises:
        ConfigError: it is no run folder, or its configuration cannot be used.
    """
    before = None if earlier is None else earlier.standing
    standing = stand(config_of_run(run), max_windows=_TREND_WINDOWS, earlier=before)
    return Status(standing=standing, concerns=concerns_of(standing))
