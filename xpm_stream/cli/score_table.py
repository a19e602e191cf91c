"""One model's figures as tables: settings and splits, single classes, proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xpm_stream.monitoring.summary import ClassScores, ModelScores, SplitScores

_MEASURES: Final = (("mask_ap50", "mask AP50"), ("box_ap50", "box AP50"), ("mask_ap", "mask AP"), ("box_ap", "box AP"))
_MOST_CLASSES: Final = 100  # more than these are only in the JSON
_SPLIT_STYLES: Final = {"base": "cyan", "target": "magenta", "all": "bold"}


def print_scores(console: Console, scores: ModelScores) -> None:
    """Print AP of boxes and masks by setting, split and class, in percent, and proposal recall."""
    head = (
        (scores.checkpoint, "bold"),
        f" on {scores.num_images:,} images, {scores.protocol.replace('_', ' ')} rules, percent",
    )
    console.print(Text.assemble(*head), soft_wrap=True)
    console.print(_split_table(scores))
    if len(scores.classes) > _MOST_CLASSES:
        console.print(f"{len(scores.classes)} classes: one by one in the JSON (--json FILE)", highlight=False)
    elif scores.classes:
        console.print(_class_table(scores))
    if scores.proposal_recall:
        console.print(_recall_table(scores))
    if scores.absent_classes:
        absent = ", ".join(scores.absent_classes[:10]) + (", ..." if len(scores.absent_classes) > 10 else "")
        message = f"not judged, since the annotations do not know them: {absent}"
        console.print(Text(message, style="yellow"), soft_wrap=True)


def _split_table(scores: ModelScores) -> Table:
    table = _table(["setting", "split"], [title for _, title in _MEASURES] + ["objects"])
    for setting, splits in (("constrained", scores.constrained), ("generalized", scores.generalized)):
        for place, (split, figures) in enumerate(splits.items()):
            table.add_row(
                "" if place else setting,
                Text(split, _SPLIT_STYLES.get(split, "")),
                *(_shown(getattr(figures, key)) for key, _ in _MEASURES),
                f"{figures.num_instances:,}",
                end_section=place == len(splits) - 1,
            )
    return table


def _class_table(scores: ModelScores) -> Table:
    """Base classes, then target classes, each best first; where both settings were judged, the generalized one."""
    both = bool(scores.constrained and scores.generalized)
    alone = ["AP50 alone"] if both else []
    table = _table(["class", "split"], [*(title for _, title in _MEASURES), *alone, "objects"])
    ranked = sorted(scores.classes.items(), key=lambda item: (item[1].split != "base", -_rank(item[1])))
    for place, (name, one) in enumerate(ranked):
        figures = _judged(one)
        table.add_row(
            name,
            Text(one.split, _SPLIT_STYLES.get(one.split, "")),
            *(_shown(getattr(figures, key)) for key, _ in _MEASURES),
            *([_shown(one.constrained.mask_ap50 if one.constrained else None)] if both else []),
            f"{figures.num_instances:,}",
            end_section=place + 1 == len(ranked) or ranked[place + 1][1].split != one.split,
        )
    if both:
        table.caption = "generalized, and mask AP50 alone: constrained, with only the words of the class's split"
        table.caption_justify = "left"
    return table


def _recall_table(scores: ModelScores) -> Table:
    budgets = list(next(iter(scores.proposal_recall.values())))
    table = _table(["class-agnostic proposals"], [f"recall@{budget}" for budget in budgets])
    for split, recall in scores.proposal_recall.items():
        table.add_row(Text(split, _SPLIT_STYLES.get(split, "")), *(_shown(recall.get(budget)) for budget in budgets))
    return table


def _table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in words:
        table.add_column(name, justify="left")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _judged(one: ClassScores) -> SplitScores:
    found = one.generalized or one.constrained
    assert found is not None  # a class is listed because a setting judged it
    return found


def _rank(one: ClassScores) -> float:
    ap50 = _judged(one).mask_ap50
    return -1.0 if ap50 is None else ap50


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
