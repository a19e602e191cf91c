"""The table of all alerts in docs/alerts.md: `python deploy/prometheus/alert_table.py` writes it from the rules."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

RULES = Path(__file__).parent / "rules"
PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
START, END = "<!-- alerts: python deploy/prometheus/alert_table.py -->\n", "<!-- end of alerts -->"


def render_table() -> str:
    """One row for each alert, in the files' order."""
    lines = ["| alert | severity | after | meaning |", "|---|---|---|---|"]
    for path in sorted(RULES.glob("*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    name, summary = rule["alert"], rule["annotations"]["summary"]
                    summary = summary.replace("{{ $labels.", "*").replace(" }}", "*")
                    lines.append(
                        f"| [{name}](runbooks/{name}.md) | {rule['labels']['severity']} | {rule.get('for', 'at once')} "
                        f"| {summary} |"
                    )
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with its table written anew."""
    head, rest = page.split(START)
    tail = rest.partition(END)[2]
    return f"{head}{START}{render_table()}{END}{tail}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="write nothing")
    if parser.parse_args().print:
        print(render_table(), end="")
    else:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
