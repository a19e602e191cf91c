"""KEDA's ScaledObject: labelers by the shards that are left, in Redis' own keys and in the metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from deployment import DEPLOY
from manifests import KUBERNETES, NAMESPACE, OVERLAYS, named, of_kind

from xpm_stream.config import load_config
from xpm_stream.label_queue.keys import Keys
from xpm_stream.monitoring.metrics import render_metrics_page

EXPRESSION = re.compile(r"sum\(max by \(state\) \(.*?\)\)")
each = pytest.mark.parametrize("source", ["files", *OVERLAYS])


@each
def test_labelers_are_scaled_by_the_shards_that_wait_or_are_being_labelled(source: str) -> None:
    spec = named(source, "ScaledObject", "xpm-labeler")["spec"]
    assert spec["scaleTargetRef"]["name"] == "xpm-labeler"
    keys = Keys(load_config(KUBERNETES / "base" / "run.yaml").redis.namespace)
    lists = {trigger["name"]: trigger["metadata"]["listName"] for trigger in spec["triggers"]}
    assert lists == {"pending": keys.pending, "leased": keys.leases}
    modifiers = spec["advanced"]["scalingModifiers"]
    assert set(re.findall(r"\w+", modifiers["formula"])) == set(lists)
    assert modifiers["metricType"] == "AverageValue", "else the number of labelers would not count"
    assert int(modifiers["target"]) >= 1
    assert spec["minReplicaCount"] >= 1, "labelers look for new shards and relabel: none is too few"
    assert spec["maxReplicaCount"] > spec["minReplicaCount"]


@each
def test_keda_finds_redis_as_a_user_who_may_only_count(source: str) -> None:
    triggers = named(source, "ScaledObject", "xpm-labeler")["spec"]["triggers"]
    service = named(source, "Service", "redis")["spec"]
    for trigger in triggers:
        assert trigger["type"] == "redis"
        assert trigger["metadata"]["address"] == f"redis.{NAMESPACE}.svc:{service['ports'][0]['port']}"
        assert trigger["metadata"]["username"] == "scaler"
        assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes text only"
        granted = named(source, "TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]
        assert granted["secretTargetRef"] == [
            {"parameter": "password", "name": "xpm-stream-redis", "key": "redis_password_scaler"}
        ]
    (policy,) = [m["spec"] for m in of_kind(source, "NetworkPolicy") if m["metadata"]["name"] == "redis-keda"]
    allowed = policy["ingress"][0]["from"]
    assert allowed == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_applying_the_manifests_again_does_not_reset_what_keda_chose(overlay: str) -> None:
    assert "replicas" not in named(overlay, "Deployment", "xpm-labeler")["spec"]


def test_the_expression_for_kedas_prometheus_scaler_is_one_and_says_the_same(tmp_path: Path) -> None:
    places = (KUBERNETES / "components" / "keda" / "scaled_object.yaml", DEPLOY.parent / "docs" / "deployment.md")
    found = {match for path in places for match in EXPRESSION.findall(path.read_text(encoding="utf-8"))}
    assert len(found) == 1
    (expression,) = found
    assert "`xpm_queue_shards` | gauge | `state`" in render_metrics_page()
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    # Two promoters see the same shards: they must not count twice. Finished shards are no work.
    series = "\n".join(
        f"      - {{series: 'xpm_queue_shards{{state=\"{state}\", instance=\"{i}\"}}', values: '{value}'}}"
        for state, value in (("pending", 5), ("leased", 2), ("finished", 90))
        for i in (1, 2)
    )
    test = f"tests:\n  - input_series:\n{series}\n    promql_expr_test:\n      - expr: '{expression}'\n"
    test += "        eval_time: 0m\n        exp_samples: [{value: 7}]\n"
    file = tmp_path / "expression.yaml"
    file.write_text(test, encoding="utf-8")
    answer = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
