"""What a benchmark returns: figures with their spread and, where there is one, a goal that is met or missed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec
from rich.table import Table
from rich.text import Text

Unit = Literal["ratio", "bytes", "MB", "1/s", "CPU s"]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound that the median should keep."""

    bound: float
    at_least: bool = True  # else: at most

    def met(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing measured, once for each repetition."""

    name: str
    values: list[float]
    unit: Unit
    goal: Goal | None = None
    detail: str = ""  # what was compared, and at which sizes

    @property
    def median(self) -> float:
        """The figure itself."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> Literal["met", "missed", ""]:
        """Whether the goal is met; empty without a goal."""
        if self.goal is None:
            return ""
        return "met" if self.goal.met(self.median) else "missed"

    def shown(self, value: float) -> str:
        """A value with its unit."""
        if self.unit == "ratio":
            return f"{value:.2f}"
        if self.unit == "CPU s":
            return f"{value:.1f} {self.unit}"
        return f"{value:,.0f}{'' if self.unit == '1/s' else ' ' + self.unit}"


def paired_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The ratio within each round: what slows a whole round does not move it."""
    return [top / bottom for top, bottom in zip(numerators, denominators, strict=True)]


def table_of(figures: Sequence[Figure]) -> Table:
    """All figures as a table."""
    table = Table(title="Figures and goals", title_justify="left")
    for name, right in (("figure", False), ("median", True), ("min to max", True), ("goal", True), ("", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "figure")
    table.add_column("what was compared")
    for figure in figures:
        goal = ""
        if figure.goal is not None:
            goal = f"{'≥' if figure.goal.at_least else '≤'} {figure.shown(figure.goal.bound)}"
        spread = f"{figure.shown(min(figure.values))} to {figure.shown(max(figure.values))}"
        colour = {"met": "green", "missed": "bold red", "": ""}[figure.verdict]
        table.add_row(
            figure.name,
            figure.shown(figure.median),
            spread if len(figure.values) > 1 else "",
            goal,
            Text(figure.verdict, style=colour),
            figure.detail,
        )
    return table


def as_json(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """All figures for scripts, medians and verdicts included."""
    return [{**msgspec.to_builtins(one), "median": one.median, "verdict": one.verdict} for one in figures]


def print_figures(figures: Sequence[Figure]) -> None:
    """One line for each figure, for a benchmark run alone."""
    for one in figures:
        spread = f" ({one.shown(min(one.values))} to {one.shown(max(one.values))})" if len(one.values) > 1 else ""
        goal = ""
        if one.goal is not None:
            sign = ">=" if one.goal.at_least else "<="
            goal = f", goal {sign} {one.shown(one.goal.bound)}: {one.verdict}"
        print(f"{one.name}: {one.shown(one.median)}{spread}{goal} | {one.detail}")
