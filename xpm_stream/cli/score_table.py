"""One model's figures as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from xpm_stream.monitoring.summary import ModelScores


def print_scores(console: Console, scores: ModelScores) -> None:
    """Print AP of boxes and masks by setting and split, in percent, and proposal recall."""
    table = Table(title=f"{scores.checkpoint} on {scores.num_images} images (percent)", title_justify="left")
    for name in ("setting", "split", "mask AP50", "box AP50", "mask AP", "box AP", "objects"):
        table.add_column(name, justify="left" if name in ("setting", "split") else "right")
    for setting, splits in (("constrained", scores.constrained), ("generalized", scores.generalized)):
        for split, of_split in splits.items():
            figures = (of_split.mask_ap50, of_split.box_ap50, of_split.mask_ap, of_split.box_ap)
            table.add_row(setting, split, *map(_shown, figures), f"{of_split.num_instances:,}")
    console.print(table)
    for split, recall in scores.proposal_recall.items():
        shown = ", ".join(f"@{budget} {_shown(value)}" for budget, value in recall.items())
        console.print(f"proposal recall, {split}: {shown}", highlight=False)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
