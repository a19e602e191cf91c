"""Calibration curves of one reliability strategy, teacher by teacher, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from xpm_stream.evaluation.reliability import ReliabilityQuality


def draw_curves(
    teachers: Mapping[str, Mapping[str, ReliabilityQuality]], path: Path, *, groups: Sequence[str], strategy: str
) -> None:
    """Draw share of right labels against mean reliability, bins of equally many labels: a panel for each group.

    Args:
        teachers: by name, oldest first, the quality of each group of words.
        path: the picture to write.
        groups: keys of the inner mappings, in order.
        strategy: what the title says was measured.
    """
    figure, panels = plt.subplots(1, len(groups), figsize=(4.2 * len(groups), 3.9), layout="constrained", sharey=True)
    colours = plt.get_cmap("viridis_r")
    for axes, group in zip(panels, groups, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1, label="as promised")
        for number, (name, qualities) in enumerate(teachers.items()):
            curve = qualities[group].calibration
            axes.plot(
                [item.mean_reliability for item in curve],
                [item.share_right for item in curve],
                marker="o",
                markersize=3.5,
                color=colours((number + 1) / (len(teachers) + 1)),
                label=f"teacher {name}",
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"{group} words", xlabel="mean reliability")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of right labels")
    panels[0].legend(frameon=False, fontsize=7.5, loc="lower right")
    figure.suptitle(strategy, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
