"""What one trial measured, as a file: a bench that was stopped goes on where it was."""

from __future__ import annotations

from pathlib import Path

import msgspec

from xpm_stream.monitoring.summary import ModelScores


class LabelQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What one teacher's pseudo labels were worth, on all images it labelled in the trial."""

    teacher: int  # 0: the one the trial began with; then one for each promotion
    step: int  # of the student when it took over
    right: dict[str, tuple[int, int]]  # group of words -> right, judged
    auc: dict[str, float | None]  # group -> AUC of the labels' reliability


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A network judged on the held-out images."""

    step: int
    scores: ModelScores
    by_class: dict[str, float | None]  # generalized mask AP50, percent
    targets: list[str] = []  # which of these are target classes


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """One arm with one seed."""

    arm: str
    seed: int
    form: str
    final: Snapshot
    promoted: list[Snapshot] = []
    late_targets: list[str] = []  # target classes that come at half time
    labels: list[LabelQuality] = []
    seconds: dict[str, float] = {}

    def write(self, path: Path) -> None:
        """Write the result at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> TrialResult:
        """Read a result."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
