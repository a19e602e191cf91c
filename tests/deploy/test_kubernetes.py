"""deploy/kubernetes: what kustomize makes of it is valid, hardened, and says what the roles do."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import (
    DEPLOY,
    IMAGE_USER,
    USER_OF,
    check_process,
    is_pinned,
    make_secrets,
    ports_of_roles,
    shutdown_timeout_s,
)
from manifests import (
    KUBERNETES,
    NAMESPACE,
    OVERLAYS,
    Manifest,
    built,
    containers,
    is_manifest,
    manifests,
    named,
    of_kind,
    our_containers,
    workloads,
)

from xpm_stream.config import RunConfig, load_config

RUN = load_config(KUBERNETES / "base" / "run.yaml")
IMAGE_ENTRY_POINT = ["/usr/bin/tini", "--", "xpm-stream"]
# Not Kubernetes' own: no schema comes with them.
CUSTOM_KINDS = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}
each = pytest.mark.parametrize("source", ["files", *OVERLAYS])


@each
def test_every_object_says_what_it_is(source: str) -> None:
    seen = set()
    for manifest in manifests(source):
        key = (manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"])
        assert key not in seen, key
        seen.add(key)
        if source != "files":
            assert manifest["metadata"]["namespace"] == NAMESPACE, key
    assert len(seen) >= 15


@each
def test_kubernetes_schemas_accept_every_object(source: str) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed: pip install 'xpm-stream[test]'"
    )
    for manifest in manifests(source):
        if manifest["kind"] not in CUSTOM_KINDS:
            validator.validate(manifest, validator.latest_version(), strict=True)


@pytest.mark.parametrize("kustomization", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=lambda p: p.parent.name)
def test_every_kustomization_lists_every_file_beside_it(kustomization: Path) -> None:
    tree = yaml.safe_load(kustomization.read_text(encoding="utf-8"))
    listed = [name for name in tree.get("resources", []) if not name.startswith("..")]
    listed += [patch["path"] for patch in tree.get("patches", []) if "path" in patch]
    listed += [name for made in tree.get("configMapGenerator", []) for name in made["files"]]
    assert sorted(listed) == sorted(path.name for path in kustomization.parent.iterdir() if path != kustomization)
    for name in (*tree.get("resources", []), *tree.get("components", [])):
        assert (kustomization.parent / name).exists(), name


def test_the_base_names_no_namespace_and_no_version_of_the_image() -> None:
    for file in filter(is_manifest, KUBERNETES.glob("base/*.yaml")):
        text = file.read_text(encoding="utf-8")
        assert "namespace:" not in text, file.name
        assert set(re.findall(r"image: (\S+)", text)) <= {"xpm-stream"}, file.name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_roles_run_the_same_pinned_image(overlay: str) -> None:
    images = {container["image"] for _, _, container in our_containers(overlay)}
    assert len(images) == 1
    assert all(is_pinned(container["image"]) for _, _, container in containers(overlay))
    names = {name for name, _, _ in our_containers(overlay)}
    assert names == {"xpm-trainer", "xpm-labeler", "xpm-promoter", "xpm-monitor"}


@each
def test_every_command_is_one_of_ours(source: str) -> None:
    found = {}
    for _, _, container in our_containers(source):
        found[container["name"]] = check_process(container.get("command", IMAGE_ENTRY_POINT), container["args"])
    assert found.pop("monitor") == "watch"
    assert found == {"teacher": "teach", "trainer": "train", "labeler": "label", "promoter": "promote"}


@each
def test_pods_may_do_no_more_than_they_must(source: str) -> None:
    for name, _, pod in workloads(source):
        assert pod["automountServiceAccountToken"] is False, name
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] != 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for name, pod, container in containers(source):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        if container["image"].startswith("xpm-stream"):
            assert pod["securityContext"]["runAsUser"] == IMAGE_USER
            assert pod["serviceAccountName"] == "xpm-stream"
    assert named(source, "ServiceAccount", "xpm-stream")["automountServiceAccountToken"] is False


@each
def test_probes_ask_the_port_at_which_the_role_answers(source: str) -> None:
    assert (RUN.metrics.host, RUN.metrics.port) == ("0.0.0.0", RunConfig().metrics.port)
    for _, _, container in our_containers(source):
        if container["name"] == "teacher":  # runs first; Kubernetes takes no probes there
            assert not [key for key in container if key.endswith("Probe")]
            continue
        assert container["ports"] == [{"name": "metrics", "containerPort": ports_of_roles()[container["name"]]}]
        asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {get["port"] for get in asked.values()} == {"metrics"}
        paths = {kind: get["path"] for kind, get in asked.items()}
        assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


@each
def test_roles_find_their_configuration_their_secret_and_room_to_write(source: str, tmp_path: Path) -> None:
    secrets = {path.name for path in make_secrets(tmp_path / "secrets").iterdir()}
    for name, pod, container in containers(source):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for workload in of_kind(source, "StatefulSet"):
            if workload["metadata"]["name"] == name:
                volumes |= {claim["metadata"]["name"]: claim for claim in workload["spec"]["volumeClaimTemplates"]}
        mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        writable = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
        for volume in volumes.values():
            for item in volume.get("secret", {}).get("items", []):
                assert item["key"] in secrets, f"make_secrets.py writes no {item['key']}"
                assert volume["secret"]["defaultMode"] == 0o440, "the group of the pod reads it"
        if not container["image"].startswith("xpm-stream"):
            continue
        assert {mount["mountPath"] for mount in writable} <= {"/var/lib/xpm-stream", "/tmp", "/dev/shm"}
        assert {"/var/lib/xpm-stream", "/tmp"} <= {mount["mountPath"] for mount in writable}
        config_folder, _, file = container["args"][-1].rpartition("/")
        assert file == "run.yaml"
        assert mounted[config_folder]["configMap"]["name"].startswith("xpm-stream-run")
        secret_folder, _, secret = RUN.redis.url.removeprefix("file://").rpartition("/")
        role = "train" if name == "xpm-trainer" else container["args"][0]
        assert mounted[secret_folder]["secret"]["items"] == [{"key": f"redis_url_{USER_OF[role]}", "path": secret}]
    assert RUN.folder is not None
    assert RUN.folder.startswith("/var/lib/xpm-stream/")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_configuration_of_the_cluster_is_one_of_ours(overlay: str, tmp_path: Path) -> None:
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(overlay, "ConfigMap")}
    for name, data in maps.items():
        if name.startswith("xpm-stream-run"):
            (tmp_path / "run.yaml").write_text(data["run.yaml"], encoding="utf-8")
            assert load_config(tmp_path / "run.yaml") == RUN
        elif name == "xpm-stream-dashboards":
            assert set(data) == {path.name for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
        else:
            assert "maxmemory-policy noeviction" in data["redis.conf"]
    used = {v["configMap"]["name"] for _, _, pod in workloads(overlay) for v in pod["volumes"] if "configMap" in v}
    assert used == set(maps) - {"xpm-stream-dashboards"}, "Grafana finds its own by their label"


@each
def test_there_is_one_trainer_with_time_for_its_last_checkpoint(source: str) -> None:
    trainer = named(source, "StatefulSet", "xpm-trainer")["spec"]
    assert trainer["replicas"] == 1
    pod = trainer["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= 300
    assert pod["terminationGracePeriodSeconds"] > shutdown_timeout_s(container["args"])
    # A rank that cannot leave says where it is before torchrun, or the kubelet, kills it unheard.
    assert pod["terminationGracePeriodSeconds"] > RUN.trainer.stop_timeout_s
    assert (shutdown_timeout_s(container["args"]) or math.inf) > RUN.trainer.stop_timeout_s
    assert trainer["volumeClaimTemplates"][0]["metadata"]["name"] == "work"
    service = named(source, "Service", trainer["serviceName"])["spec"]
    assert service["clusterIP"] == "None"


@each
def test_every_role_has_the_time_it_may_take_to_leave(source: str) -> None:
    for name, limit_s in (("xpm-labeler", RUN.labeler.stop_timeout_s), ("xpm-promoter", RUN.promotion.stop_timeout_s)):
        grace_s = named(source, "Deployment", name)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace_s >= limit_s + 10, name  # the watchdog's own last words, and the container's end


def test_gpus_belong_to_the_gpu_overlay_one_rank_each() -> None:
    def gpus(overlay: str) -> set[str]:
        limits = {c["name"]: c["resources"]["limits"] for _, _, c in our_containers(overlay)}
        return {name for name, limit in limits.items() if "nvidia.com/gpu" in limit}

    assert gpus("cpu") == set()
    assert gpus("gpu") == {"teacher", "trainer", "labeler"}
    trainer = next(container for _, _, container in our_containers("gpu") if container["name"] == "trainer")
    assert "--nproc-per-node=gpu" in trainer["args"]
    assert shutdown_timeout_s(trainer["args"]) > 60


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_says_what_it_needs(overlay: str) -> None:
    for name, _, container in containers(overlay):
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}, name
        assert "memory" in resources["limits"], name


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector["matchLabels"].items())


@each
def test_every_selector_selects_what_it_should(source: str) -> None:
    labels = {name: template["metadata"]["labels"] for name, template, _ in workloads(source)}

    def selected(selector: Manifest) -> set[str]:
        return {name for name, found in labels.items() if matches(selector, found)}

    roles = {"xpm-trainer", "xpm-labeler", "xpm-promoter", "xpm-monitor"}
    expected: dict[tuple[str, str], set[str]] = {
        ("PodDisruptionBudget", "xpm-labeler"): {"xpm-labeler"},
        ("PodDisruptionBudget", "redis"): {"redis"},
        ("NetworkPolicy", "xpm-stream"): roles,
        ("NetworkPolicy", "xpm-stream-metrics"): roles,
        ("NetworkPolicy", "redis"): {"redis"},
        ("NetworkPolicy", "redis-keda"): {"redis"},
        ("PodMonitor", "xpm-stream"): roles,
        ("Service", "xpm-trainer"): {"xpm-trainer"},
        ("Service", "redis"): {"redis"},
    }
    found: dict[tuple[str, str], set[str]] = {}
    for manifest in of_kind(source, "PodDisruptionBudget", "NetworkPolicy", "PodMonitor", "Service"):
        spec = manifest["spec"]
        selector: Any = spec.get("podSelector") or spec["selector"]
        whole = selector if "matchLabels" in selector else {"matchLabels": selector}
        found[manifest["kind"], manifest["metadata"]["name"]] = selected(whole)
    assert found == expected
    for manifest in of_kind(source, "Deployment", "StatefulSet"):
        name = manifest["metadata"]["name"]
        assert selected(manifest["spec"]["selector"]) == {name}, "would take over another's pods"
        assert manifest["metadata"]["labels"].items() <= labels[name].items()


@each
def test_only_those_who_must_reach_redis_and_the_metrics(source: str) -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in of_kind(source, "NetworkPolicy")}
    assert all(policy["policyTypes"] == ["Ingress"] for policy in policies.values())
    assert policies.pop("xpm-stream")["ingress"] == []
    (metrics,) = policies.pop("xpm-stream-metrics")["ingress"]
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert metrics["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    for policy in policies.values():
        (rule,) = policy["ingress"]
        assert rule["ports"] == [{"port": "redis", "protocol": "TCP"}]
    assert policies["redis"]["ingress"][0]["from"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "xpm-stream"}}}
    ]


@each
def test_prometheus_gives_each_role_the_labels_that_our_rules_go_by(source: str) -> None:
    spec = named(source, "PodMonitor", "xpm-stream")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    by_target = {rule["targetLabel"]: rule for rule in endpoint["relabelings"]}
    assert by_target["job"]["replacement"] == "xpm_stream"
    assert by_target["run"]["sourceLabels"] == ["__meta_kubernetes_namespace"]
    assert by_target["role"]["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
    components = {
        template["metadata"]["labels"].get("app.kubernetes.io/component")
        for name, template, _ in workloads(source)
        if name != "redis"
    }
    assert components == set(ports_of_roles())


def test_what_needs_operators_is_left_to_be_asked_for() -> None:
    for overlay in OVERLAYS:
        tree = yaml.safe_load((KUBERNETES / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8"))
        assert tree["components"] == ["../../components/redis"]
        assert {manifest["kind"] for manifest in built(overlay)} >= CUSTOM_KINDS, "the components were not built here"


@each
def test_the_cluster_has_the_rules_of_every_other_prometheus(source: str) -> None:
    script = DEPLOY / "prometheus" / "kubernetes_rules.py"
    answer = subprocess.run([sys.executable, script, "--print"], capture_output=True, text=True, check=True, timeout=60)
    current = (KUBERNETES / "components" / "monitoring" / "prometheus_rule.yaml").read_text(encoding="utf-8")
    assert answer.stdout == current, f"run: python {script.relative_to(DEPLOY.parent)}"
    groups = named(source, "PrometheusRule", "xpm-stream")["spec"]["groups"]
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yaml"))
    assert groups == [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_grafanas_sidecar_finds_the_dashboards(overlay: str) -> None:
    dashboards = named(overlay, "ConfigMap", "xpm-stream-dashboards")
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert sum(len(text.encode()) for text in dashboards["data"].values()) < 250_000, "kubectl apply keeps a copy of it"
