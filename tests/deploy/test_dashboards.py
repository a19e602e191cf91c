"""Grafana's dashboards: current, of Grafana's schema, about metrics that exist, and laid out without overlaps."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import DEPLOY
from promql import alerts, problems

FOLDER = DEPLOY / "grafana" / "dashboards"
BOARDS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
COLUMNS = 24
each = pytest.mark.parametrize("name", BOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in BOARDS[name]["panels"] if panel["type"] != "row"]


def expressions(name: str) -> Iterator[tuple[str, str]]:
    """Every expression of a dashboard, and where it stands."""
    for panel in panels(name):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in BOARDS[name]["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in BOARDS[name]["templating"]["list"]:
        selector = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"])
        assert selector is not None, variable["query"]
        yield variable["name"], selector[1]


def test_there_is_one_for_each_part() -> None:
    assert set(BOARDS) == {"overview.json", "labelers.json", "trainer.json", "drift_and_promotion.json"}
    uids = [board["uid"] for board in BOARDS.values()]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in uids)


def test_the_files_are_what_the_source_writes(tmp_path: Path) -> None:
    pytest.importorskip(
        "grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed: pip install 'xpm-stream[test]'"
    )
    script = DEPLOY / "grafana" / "source" / "write.py"
    subprocess.run([sys.executable, script, "--output", tmp_path], check=True, timeout=120)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    shipped = {name: (FOLDER / name).read_text(encoding="utf-8") for name in BOARDS}
    assert written == shipped, f"run: python {script.relative_to(DEPLOY.parent)}"


@each
def test_grafanas_schema_knows_all_that_is_in_it(name: str) -> None:
    """Read into the types made of Grafana's schema and written again, nothing is lost or changed."""
    sdk = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard",
        reason="grafana-foundation-sdk is not installed: pip install 'xpm-stream[test]'",
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    tree = sdk.Dashboard.from_json(BOARDS[name])
    assert json.loads(JSONEncoder().encode(tree)) == BOARDS[name]


@each
def test_every_expression_names_metrics_labels_and_values_that_exist(name: str) -> None:
    found = list(expressions(name))
    assert len(found) >= 15
    assert {title: wrong for title, expr in found if (wrong := problems(expr))} == {}


@each
def test_only_the_chosen_runs_are_shown(name: str) -> None:
    for title, expr in expressions(name):
        if title != "run":
            assert expr.count("{") == expr.count('run=~"$run"'), f"{title}: {expr}"


@each
def test_the_datasource_is_the_one_that_is_provisioned(name: str) -> None:
    tree = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8"))
    (source,) = tree["datasources"]
    expected = {"type": source["type"], "uid": source["uid"]}
    board = BOARDS[name]
    sources = [thing["datasource"] for panel in panels(name) for thing in (panel, *panel["targets"])]
    sources += [thing["datasource"] for kind in ("annotations", "templating") for thing in board[kind]["list"]]
    assert all(found == expected for found in sources)


@each
def test_no_two_panels_overlap(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    ids = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        assert place["w"] >= 3, f"{panel['title']} is too narrow to read"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


@each
def test_an_operator_can_read_every_panel(name: str) -> None:
    assert len({panel["title"] for panel in panels(name)}) == len(panels(name)), "two panels of one name"
    top = [panel for panel in panels(name) if panel["gridPos"]["y"] == 0]
    assert len(top) >= 6
    assert {panel["type"] for panel in top} == {"stat"}, "the top row is numbers"
    for panel in panels(name):
        title = panel["title"]
        assert title[0].isupper(), title
        if panel["type"] in ("stat", "timeseries"):
            assert panel["fieldConfig"]["defaults"]["unit"], f"{title} has no unit"
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None
        if panel["type"] == "timeseries":
            legends = [target["legendFormat"] for target in panel["targets"]]
            assert all(0 < len(legend) <= 32 for legend in legends), title
            assert len(set(legends)) == len(legends), title
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0, title


@each
def test_legends_use_labels_that_are_left(name: str) -> None:
    for panel in panels(name):
        for target in panel["targets"]:
            grouped = re.findall(r"by \(([\w, ]+)\)", target["expr"])
            if grouped and panel["type"] == "timeseries":
                used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                assert used <= set(re.split(r", ", grouped[0])), panel["title"]


def test_panels_name_runbooks_that_exist_and_no_alert_on_metrics_is_without_a_panel() -> None:
    named = {
        found
        for name in BOARDS
        for panel in panels(name)
        for found in re.findall(r"^Alert (\w+): docs/runbooks/\1\.md$", panel["description"], flags=re.MULTILINE)
    }
    known = {rule["alert"] for rule in alerts()}
    assert named <= known
    # Nothing is shown where nothing is scraped; starts again show as errors and targets that do not answer.
    assert known - named == {"XpmNothingScraped", "XpmRoleRestarts"}
