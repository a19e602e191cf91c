"""The rules for Prometheus: valid, about metrics that exist, each alert tested and explained."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import DEPLOY, check_command
from promql import RULES, TESTS, Rule, alerts, labels_by_metric, problems, rules, rules_of

RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"
HEADINGS = ["Symptom", "Metric", "Action", "Verification"]
ALERT_NAME = re.compile(r"Xpm\w+")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    words = [program, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yaml")), ids=lambda path: path.stem)
def test_prometheus_accepts_the_rules(path: Path) -> None:
    answer = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_before(path: Path) -> None:
    answer = promtool("test", "rules", path)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_expression_names_metrics_labels_and_values_that_exist(rule: Rule) -> None:
    assert problems(rule["expr"]) == []


def test_what_does_not_exist_is_noticed() -> None:
    assert problems("rate(xpm_trainer_step_total[5m])") == ["there is no metric xpm_trainer_step_total"]
    assert problems('xpm_queue_shards{status="failed"}') == ["xpm_queue_shards has no label status"]
    assert problems('xpm_queue_shards{state="broken"}') == ["state of xpm_queue_shards is never broken"]
    assert problems("sum by (shard) (up)") == ["none of the metrics has a label shard"]
    assert problems('max_over_time((-xpm_ready offset 1h)[1h:5m]) or xpm_gone > on (run) up{job="xpm_stream"}') == [
        "there is no metric xpm_gone"
    ]
    with pytest.raises(ValueError, match="parenthesis"):
        problems("sum by (run) (up")


def test_every_alert_says_what_an_operator_needs() -> None:
    for rule in alerts():
        name = rule["alert"]
        assert name.startswith("Xpm"), name
        assert set(rule["labels"]) == {"severity"}
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{name}.md"
        assert "$value" in rule["annotations"]["description"] or name == "XpmNothingScraped", name
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)


def test_operators_are_woken_for_few_things_and_never_at_once() -> None:
    paging = [rule for rule in alerts() if rule["labels"]["severity"] == "page"]
    assert len(paging) <= 10, "who is woken for everything sleeps through it"
    for rule in paging:
        assert minutes(rule["for"]) >= 3, rule["alert"]


def minutes(text: str) -> int:
    return int(text[:-1]) * {"m": 1, "h": 60}[text[-1]]


def checks_of(alert: str) -> list[dict[str, Any]]:
    """The lines of promtool's tests about an alert."""
    trees = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TESTS.glob("*.yaml")]
    lines = [line for tree in trees for test in tree["tests"] for line in test["alert_rule_test"]]
    return [line for line in lines if line["alertname"] == alert]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(rule: Rule) -> None:
    firing = [line for line in checks_of(rule["alert"]) if line.get("exp_alerts")]
    quiet = [line for line in checks_of(rule["alert"]) if not line.get("exp_alerts")]
    assert firing
    assert quiet
    for line in firing:
        (expected,) = line["exp_alerts"]
        assert expected["exp_labels"]["severity"] == rule["labels"]["severity"]
        assert expected["exp_annotations"]["runbook"] == rule["annotations"]["runbook"]


def test_every_file_of_rules_has_its_tests() -> None:
    with_alerts = {path.name for path in RULES.glob("*.yaml") if any("alert" in rule for rule in rules_of(path))}
    assert with_alerts == {path.name for path in TESTS.glob("*.yaml")}
    for path in TESTS.glob("*.yaml"):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert tree["rule_files"] == ["../rules/recording.yaml", f"../rules/{path.name}"]


def test_every_recording_rule_is_named_by_the_labels_it_keeps_and_is_used() -> None:
    known, uses = labels_by_metric(), "\n".join(rule["expr"] for rule in rules())
    uses += "".join(path.read_text(encoding="utf-8") for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"))
    for rule in rules():
        if "record" in rule:
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*:xpm_\w+:\w+", rule["record"])
            assert known[rule["record"]] <= {"run", "role", "reference", "cause"}, rule["record"]
            assert rule["record"] in uses, f"{rule['record']} is used nowhere"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("Xpm*.md")), ids=lambda path: path.stem)
def test_a_runbook_says_what_is_seen_what_to_do_and_how_to_verify_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == HEADINGS
    metric = text.split("## Metric")[1].split("## Action")[0]
    named = set(re.findall(r"`((?:xpm_|run|up)[\w:]*)", metric))
    assert named, "which metric?"
    assert named <= set(labels_by_metric()), named - set(labels_by_metric())
    for other in ALERT_NAME.findall(text):
        assert (RUNBOOKS / f"{other}.md").exists(), other
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_commands_in_runbooks_are_commands(path: Path) -> None:
    found = re.findall(r"^ *xpm-stream ([^#\n|>]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in found:
        check_command(shlex.split(line.replace("NUMBER", "1")))


def test_the_table_of_alerts_is_current() -> None:
    script = DEPLOY / "prometheus" / "alert_table.py"
    answer = subprocess.run([sys.executable, script, "--print"], capture_output=True, text=True, check=True, timeout=60)
    page = (DEPLOY.parent / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert answer.stdout in page, f"run: python {script.relative_to(DEPLOY.parent)}"
    assert answer.stdout.count("\n") == len(alerts()) + 2


def test_the_page_names_only_alerts_that_exist() -> None:
    page = (DEPLOY.parent / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert set(ALERT_NAME.findall(page)) <= {rule["alert"] for rule in alerts()}
