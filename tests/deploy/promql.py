"""What an expression for Prometheus names, held to the metrics tables of the code and to our recording rules."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import promql_parser
import yaml
from deployment import DEPLOY
from prometheus_client import Histogram

from xpm_stream import errors
from xpm_stream.monitoring.metric_tables import GROUPS
from xpm_stream.monitoring.metrics import specs_of
from xpm_stream.registry.gates import GateName

RULES: Final = DEPLOY / "prometheus" / "rules"
TESTS: Final = DEPLOY / "prometheus" / "tests"
Rule = dict[str, Any]

TARGET_LABELS: Final = frozenset({"job", "instance", "role", "run"})  # of deploy's scrape configurations
OF_PROMETHEUS: Final = {"up": frozenset(), "ALERTS": frozenset({"alertname", "alertstate", "severity"})}
OF_CLIENT: Final = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
SPECS: Final = {spec.name: spec for group in GROUPS for spec in specs_of(group).values()}
# Closed sets of label values that the table does not know; what is not here must stand in the metric's help.
VALUES: Final = {
    "role": {"trainer", "teacher", "pretrainer", "labeler", "promoter", "monitor"},
    "job": {"xpm_stream"},
    "state": {"pending", "leased", "finished", "failed"},
    "kind": {name for name, found in vars(errors).items() if isinstance(found, type)} | {"caption", "image", "chance"},
    "reason": {"stale", "revoked"},
    "reference": {"frozen", "previous_teacher", "current_teacher"},
    "quantile": {"0.05", "0.25", "0.5", "0.75", "0.95"},
    "gate": set(get_args(GateName)),
    "alertstate": {"firing", "pending"},
    "severity": {"page", "ticket"},
}


@functools.cache
def rules() -> list[Rule]:
    """Every rule of every file, in order."""
    return [rule for path in sorted(RULES.glob("*.yaml")) for rule in rules_of(path)]


def rules_of(path: Path) -> list[Rule]:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [rule for group in tree["groups"] for rule in group["rules"]]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if "alert" in rule]


@functools.cache
def labels_by_metric() -> dict[str, frozenset[str]]:
    """The labels of every metric an expression may name."""
    known = {name: TARGET_LABELS | labels for name, labels in OF_PROMETHEUS.items()}
    known |= dict.fromkeys(OF_CLIENT, TARGET_LABELS)
    for spec in SPECS.values():
        labels = TARGET_LABELS | set(spec.labels)
        if issubclass(spec.kind, Histogram):
            known |= {spec.name + "_bucket": labels | {"le"}, spec.name + "_sum": labels, spec.name + "_count": labels}
        else:
            known[spec.name] = labels
    # level:metric:operation, where the level is the labels that are left.
    known |= {
        rule["record"]: frozenset(rule["record"].split(":")[0].split("_")) for rule in rules() if "record" in rule
    }
    return known


def parsed(expression: str) -> promql_parser.Expr:
    """The expression's tree, what Grafana fills in replaced by an example of it."""
    for variable, example in (("$__rate_interval", "1m"), ("$__range", "1h"), ("$__interval", "1m"), ("$run", ".*")):
        expression = expression.replace(variable, example)
    return promql_parser.parse(expression)


def nodes(tree: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    found: list[promql_parser.Expr] = []
    promql_parser.walk(tree, found.append)
    return iter(found)


def problems(expression: str) -> list[str]:
    """What an expression names that is not there: metrics, labels, label values."""
    known, found = labels_by_metric(), []
    tree = parsed(expression)
    selectors = [node for node in nodes(tree) if isinstance(node, promql_parser.VectorSelector)]
    reachable: set[str] = set()
    for selector in selectors:
        if selector.name not in known:
            found.append(f"there is no metric {selector.name}")
            continue
        reachable |= known[selector.name]
        for matcher in selector.matchers.matchers:
            if matcher.name not in known[selector.name]:
                found.append(f"{selector.name} has no label {matcher.name}")
            elif not matcher.value.startswith(".*"):
                for value in matcher.value.split("|"):
                    if not _is_value(selector.name, matcher.name, value):
                        found.append(f"{matcher.name} of {selector.name} is never {value}")
    for label in grouping_labels(tree):
        if label not in reachable:
            found.append(f"none of the metrics has a label {label}")
    return found


def grouping_labels(tree: promql_parser.Expr) -> set[str]:
    """Labels in `by (...)` and `on (...)`."""
    found: set[str] = set()
    for node in nodes(tree):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
            found |= set(modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and modifier is not None:
            found |= set(modifier.matching.labels) if modifier.matching is not None else set()
            found |= set(modifier.group_labels or ())
    return found


def _is_value(metric: str, label: str, value: str) -> bool:
    spec = SPECS.get(metric)
    if spec is not None and label in spec.labels:
        return value in spec.values or value in VALUES.get(label, ()) or value in spec.help
    return value in VALUES.get(label, (value,))
