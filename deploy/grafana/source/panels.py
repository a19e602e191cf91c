"""Panels of our dashboards: what they have in common, in the types of Grafana's own SDK, and how they are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus as queries

DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="prometheus")  # of ../provisioning/datasources
CHOSEN: Final = 'run=~"$run"'
COLUMNS: Final = 24
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
Limits = Sequence[tuple[float | None, str]]  # from this value on, this colour; none: from the lowest

SHARE, SECONDS, BYTES, PLAIN, RATE = (
    units.PercentUnit,
    units.Seconds,
    units.BytesIEC,
    units.Short,
    units.CountsPerSecond,
)
Panel = stat.Panel | timeseries.Panel | heatmap.Panel | table.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, of one height, sharing the width by their weights."""

    panels: Sequence[Panel]
    height: int = 8
    title: str = ""  # shown as a heading above


def of_run(metric: str, **labels: str) -> str:
    """The metric's series of the chosen runs; `a|b` as a label's value matches both."""
    further = [f'{name}{"=~" if "|" in value else "="}"{value}"' for name, value in labels.items()]
    return f"{metric}{{{', '.join([CHOSEN, *further])}}}"


def rate(metric: str) -> str:
    """How fast a counter rises each second, over a span that fits the picture."""
    return f"rate({of_run(metric)}[$__rate_interval])"


def quantile(share: float, histogram: str) -> str:
    """A quantile of a histogram over all processes."""
    return f"histogram_quantile({share}, sum by (le) ({rate(histogram + '_bucket')}))"


def stat_panel(
    title: str,
    expr: str,
    *,
    unit: str = PLAIN,
    limits: Limits = ((None, BLUE),),
    alerts: Sequence[str] = (),
    about: str = "",
    decimals: float | None = None,
) -> stat.Panel:
    """One number, coloured by its limits, with its course behind it."""
    panel = stat.Panel().graph_mode(common.BigValueGraphMode.AREA).color_mode(common.BigValueColorMode.VALUE)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.no_value("none")
    if decimals is not None:
        panel.decimals(decimals)
    _dress(panel, title, [Query(expr)], unit=unit, limits=limits, alerts=alerts, about=about)
    return panel


def lines(
    title: str,
    *given: Query,
    unit: str = PLAIN,
    stacked: bool = False,
    limits: Limits = (),
    alerts: Sequence[str] = (),
    about: str = "",
    least: float | None = 0,
    draw: Literal["lines", "bars"] = "lines",
    logarithmic: bool = False,
) -> timeseries.Panel:
    """Lines over time; with limits, dashed lines at them."""
    panel = timeseries.Panel().fill_opacity(30 if stacked else 5).show_points(common.VisibilityMode.NEVER)
    panel.legend(
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(
        common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    )
    if draw == "bars":
        panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(60)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if logarithmic:
        panel.scale_distribution(common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))
    elif least is not None:
        panel.min(least)
    if limits:
        panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    _dress(panel, title, given, unit=unit, limits=limits or ((None, GREEN),), alerts=alerts, about=about)
    return panel


def heat(
    title: str, histogram: str, *, unit: str = PLAIN, about: str = "", alerts: Sequence[str] = ()
) -> heatmap.Panel:
    """How a histogram's values are spread, over time."""
    panel = heatmap.Panel().calculate(False)
    panel.color(
        heatmap.HeatmapColorOptions().scheme("Oranges").mode(heatmaps.HeatmapColorMode.SCHEME).steps(64).exponent(0.5)
    )
    panel.y_axis(heatmap.YAxisConfig().unit(unit))
    panel.with_target(
        _target(
            Query(f"sum by (le) (increase({of_run(histogram + '_bucket')}[$__rate_interval]))", "{{le}}"), "A"
        ).format(queries.PromQueryFormat.HEATMAP)
    )
    panel.title(title).description(_description(about, alerts)).datasource(DATASOURCE)
    return panel


def rows_table(
    title: str, *given: Query, hidden: Sequence[str] = (), about: str = "", alerts: Sequence[str] = ()
) -> table.Panel:
    """The present value of each query, one line for each set of labels."""
    panel = table.Panel().title(title).description(_description(about, alerts)).datasource(DATASOURCE)
    for letter, query in zip("ABCDE", given, strict=False):
        panel.with_target(_target(query, letter).instant().format(queries.PromQueryFormat.TABLE))
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    renamed = {f"Value #{letter}": query.legend for letter, query in zip("ABCDE", given, strict=False)}
    renamed |= {"Value": given[0].legend} if len(given) == 1 else {}
    excluded = dict.fromkeys(["Time", "__name__", "job", *hidden], True)
    panel.with_transformation(
        models.DataTransformerConfig(id_val="organize", options={"excludeByName": excluded, "renameByName": renamed})
    )
    return panel


def _dress(
    panel: stat.Panel | timeseries.Panel,
    title: str,
    given: Sequence[Query],
    *,
    unit: str,
    limits: Limits,
    alerts: Sequence[str],
    about: str,
) -> None:
    panel.title(title).description(_description(about, alerts)).datasource(DATASOURCE).unit(unit)
    steps = [models.Threshold(value=value, color=colour) for value, colour in limits]
    panel.thresholds(dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    for letter, query in zip("ABCDEFGH", given, strict=False):
        panel.with_target(_target(query, letter))


def _target(query: Query, letter: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(letter)
        .datasource(DATASOURCE)
        .range()
    )


def _description(about: str, alerts: Sequence[str]) -> str:
    runbooks = [f"Alert {name}: docs/runbooks/{name}.md" for name in alerts]
    return "\n\n".join([about, *runbooks] if about else runbooks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard: its name in addresses, title, and rows from the top."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row] = field(default_factory=list)

    def build(self) -> models.Dashboard:
        """The dashboard with every panel in its place."""
        board = (
            dashboards.Dashboard(self.title)
            .uid(self.uid)
            .description(self.about)
            .tags(["xpm_stream"])
            .readonly()
            .refresh("30s")
            .time("now-6h", "now")
            .timezone("browser")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .link(
                dashboards.DashboardLink("xpm_stream")
                .type(models.DashboardLinkType.DASHBOARDS)
                .tags(["xpm_stream"])
                .include_vars(True)
                .keep_time(True)
            )
            .with_variable(_run_variable())
            .annotation(_annotation("promotions", BLUE, f"changes({of_run('xpm_promoter_champion_version')}[1m]) > 0"))
            .annotation(_annotation("pages", RED, f"{of_run('ALERTS', alertstate='firing', severity='page')} == 1"))
        )
        number, top = 0, 0
        for row in self.rows:
            if row.title:
                number += 1
                board.with_row(
                    dashboards.Row(row.title).id(number).grid_pos(models.GridPos(h=1, w=COLUMNS, x=0, y=top))
                )
                top += 1
            for index, panel in enumerate(row.panels):
                number += 1
                left, right = (COLUMNS * place // len(row.panels) for place in (index, index + 1))
                panel.id(number).grid_pos(models.GridPos(h=row.height, w=right - left, x=left, y=top))
                board.with_panel(panel)
            top += row.height
        return board.build()


def _run_variable() -> Builder[models.VariableModel]:
    return (
        dashboards.QueryVariable("run")
        .label("run")
        .datasource(DATASOURCE)
        .query('label_values(up{job="xpm_stream"}, run)')
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .multi(True)
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _annotation(name: str, colour: str, expr: str) -> dashboards.AnnotationQuery:
    return dashboards.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour).expr(expr)
