"""The rules as a PrometheusRule for Kubernetes: `python deploy/prometheus/kubernetes_rules.py` writes it."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

RULES = Path(__file__).parent / "rules"
OUTPUT = Path(__file__).parents[1] / "kubernetes" / "components" / "monitoring" / "prometheus_rule.yaml"
HEAD = """\
# Written from deploy/prometheus/rules by `python deploy/prometheus/kubernetes_rules.py`; do not edit.
# A Prometheus that takes only rules with a label (kube-prometheus-stack: `release`) needs it added in an overlay.
"""


def render() -> str:
    """Every group of every file, in one object."""
    trees = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yaml"))]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "xpm-stream"},
        "spec": {"groups": [group for tree in trees for group in tree["groups"]]},
    }
    return HEAD + yaml.safe_dump(rule, sort_keys=False, width=1000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="write nothing")
    if parser.parse_args().print:
        print(render(), end="")
    else:
        OUTPUT.write_text(render(), encoding="utf-8")
