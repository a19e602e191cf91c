"""deploy/compose.yaml and compose.gpu.yaml, read as Compose reads them: what runs, what it may do, what it finds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import (
    DEPLOY,
    IMAGE_USER,
    USER_OF,
    check_process,
    has_command,
    is_pinned,
    make_secrets,
    ports_of_roles,
    shutdown_timeout_s,
)

from xpm_stream.config import RunConfig, load_config

IMAGE_ENTRY_POINT = ["/usr/bin/tini", "--", "xpm-stream"]
TEXTS = {name: (DEPLOY / name).read_text(encoding="utf-8") for name in ("compose.yaml", "compose.gpu.yaml")}


def merged(under: Any, over: Any) -> Any:
    """As Compose lays one file over another: mappings are merged, commands and single values replaced."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {**under, **{key: merged(under[key], value) if key in under else value for key, value in over.items()}}
    return over


CPU = yaml.safe_load(TEXTS["compose.yaml"])
COMPOSED = {"cpu": CPU, "gpu": merged(CPU, yaml.safe_load(TEXTS["compose.gpu.yaml"]))}
each = pytest.mark.parametrize("tree", COMPOSED.values(), ids=COMPOSED)
RUN = load_config(DEPLOY / "compose_run.yaml")


def roles(tree: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The services that run our image."""
    for name, service in tree["services"].items():
        if service["image"].startswith("xpm-stream:"):
            yield name, service


def process_of(service: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    return service.get("entrypoint", IMAGE_ENTRY_POINT), service["command"]


def names_in(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else entry["source"] for entry in entries]


def mounts(service: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    """Target in the container -> what is mounted, and whether it can be written."""
    found = {}
    for entry in service.get("volumes", ()):
        source, target, *options = re.sub(r"\$\{\w+:-(.+?)\}", r"\1", entry).split(":")
        found[target] = (source, options != ["ro"])
    return found


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def by_the_specification(*files: Path) -> subprocess.CompletedProcess[str]:
    """The files against the Compose specification's schema, as check-jsonschema carries it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_files_are_what_the_compose_specification_allows(tmp_path: Path) -> None:
    answer = by_the_specification(*(DEPLOY / name for name in TEXTS))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(TEXTS["compose.yaml"].replace("stop_grace_period:", "stop_grace_time:"))
    answer = by_the_specification(misspelt)
    assert answer.returncode == 1
    assert "'stop_grace_time' was unexpected" in answer.stdout


@each
def test_what_services_name_is_declared_and_what_is_declared_is_used(tree: dict[str, Any]) -> None:
    services = tree["services"].values()
    for kind in ("configs", "secrets"):
        assert {name for s in services for name in names_in(s.get(kind, []))} == set(tree[kind])
    sources = {source for service in services for source, _ in mounts(service).values()}
    assert {source for source in sources if not source.startswith((".", "/"))} == set(tree["volumes"])
    for service in services:
        for other, how in service.get("depends_on", {}).items():
            needed = tree["services"][other]
            if how["condition"] == "service_completed_successfully":
                assert needed["restart"] in ("no", "on-failure"), f"{other} would never be over"
            if how["condition"] == "service_healthy":
                assert needed["healthcheck"]["test"]


@each
def test_every_command_of_a_role_is_one_of_ours(tree: dict[str, Any]) -> None:
    expected = {"teacher": "teach", "trainer": "train", "labeler": "label", "promoter": "promote"}
    expected |= {"synth": "synth", "operator": "audit"}
    found = dict(roles(tree))
    monitor = found.pop("monitor")
    assert {name: check_process(*process_of(service)) for name, service in found.items()} == expected
    if has_command("watch"):
        assert check_process(*process_of(monitor)) == "watch"
        assert "profiles" not in monitor, "the drift monitor exists: have compose.yaml start it"
    else:
        assert monitor["profiles"] == ["drift"], "there is no `xpm-stream watch` yet"


@each
def test_every_mounted_file_and_folder_is_there(tree: dict[str, Any]) -> None:
    for name, service in tree["services"].items():
        for source, _ in mounts(service).values():
            assert not source.startswith(".") or (DEPLOY / source).exists(), f"{name} mounts {source}"
    assert (DEPLOY / re.sub(r"\$\{\w+:-(.+)\}", r"\1", tree["configs"]["run"]["file"])).exists()


def test_every_secret_is_a_file_that_make_secrets_writes(tmp_path: Path) -> None:
    folder = make_secrets(tmp_path / "secrets")
    assert folder.stat().st_mode & 0o077 == 0, "others may not enter"
    for name, secret in CPU["secrets"].items():
        assert set(secret) == {"file"}, f"{name} stands in the file"
        where = re.sub(r"\$\{XPM_SECRETS(:\?[^}]*)?\}", str(folder), secret["file"])
        assert Path(where).read_text(encoding="utf-8").strip()
        assert Path(where).stat().st_mode & 0o777 == 0o444, "a container's user reads it"
    again = subprocess.run(["python", DEPLOY / "make_secrets.py", folder], capture_output=True, text=True, check=False)
    assert again.returncode != 0, "passwords in use were overwritten"


@pytest.mark.parametrize("name", TEXTS)
def test_every_variable_is_described_and_every_described_one_used(name: str) -> None:
    head = TEXTS[name][: TEXTS[name].index("\nservices:")]
    comments = "\n".join(line for line in head.splitlines() if line.startswith("#"))
    described = set(re.findall(r"XPM_\w+", comments))
    used = set(re.findall(r"\$\{(XPM_\w+)", TEXTS[name]))
    assert described == used
    page = (DEPLOY.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert used <= set(re.findall(r"XPM_\w+", page))


@each
def test_images_are_pinned(tree: dict[str, Any]) -> None:
    for name, service in tree["services"].items():
        assert service["image"] in ("xpm-stream:cpu", "xpm-stream:cuda") or is_pinned(service["image"]), name
    assert {service["image"] for _, service in roles(tree)} == {tree["services"]["trainer"]["image"]}, (
        "only it is built"
    )
    base = tree["services"]["trainer"]["build"]["args"]["BASE_IMAGE"]
    assert base.partition(":-")[2].rstrip("}") in (DEPLOY.parent / "Dockerfile").read_text(encoding="utf-8")


@each
def test_nothing_may_do_more_than_it_must(tree: dict[str, Any]) -> None:
    for name, service in tree["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), f"{name} is open to the world"
        assert "privileged" not in service
    for name, service in roles(tree):
        assert service["user"] == f"{IMAGE_USER}:{IMAGE_USER}", name
        assert "ports" not in service, f"{name}: metrics ask for no password"


@each
def test_roles_write_to_volumes_only_and_see_the_data(tree: dict[str, Any]) -> None:
    registry = RUN.registry.url
    assert registry is not None
    assert RUN.folder is not None
    image_volume = "/var/lib/xpm-stream"  # of the Dockerfile: writable in every container
    assert RUN.folder.startswith(f"{image_volume}/")
    for name, service in roles(tree):
        if name == "synth":
            assert mounts(service) == {"/data": ("data", True)}
            continue
        run = f"{service['command'][-1]}{'/config.yaml' if name == 'operator' else ''}"
        assert service["configs"] == [{"source": "run", "target": run}]
        assert mounts(service)[registry] == ("registry", True), f"{name} has a registry of its own"
        assert mounts(service)["/data"] == ("data", False), name
        assert service["tmpfs"] == ["/tmp"]
    data = RUN.data
    assert data.base is not None
    assert data.val is not None
    for path in (*data.shards, data.base.annotations, data.base.images, data.val.images, data.split.file):
        assert path.startswith("/data/")
    for name in ("teacher", "trainer"):
        assert mounts(tree["services"][name])[image_volume] == ("trainer", True), "a resumed teacher is lost"


@each
def test_each_role_is_its_own_redis_user(tree: dict[str, Any]) -> None:
    for _, service in roles(tree):
        user = USER_OF.get(service["command"][-2])
        if user is None:
            assert "secrets" not in service
        else:
            assert service["secrets"] == [{"source": f"redis_url_{user}", "target": "redis_url"}]
            assert RUN.redis.url == "file:///run/secrets/redis_url"


@each
def test_health_is_asked_at_the_port_of_the_role_and_prometheus_asks_there_too(tree: dict[str, Any]) -> None:
    assert (RUN.metrics.host, RUN.metrics.port) == ("0.0.0.0", RunConfig().metrics.port)
    ports = ports_of_roles()
    ports["teacher"] = ports["trainer"]
    scraped = yaml.safe_load((DEPLOY / "compose_prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"][0]
    found = {entry["names"][0]: entry["port"] for entry in scraped["dns_sd_configs"]}
    assert found == ports
    for name, port in ports.items():
        asked = tree["services"][name].get("environment", {}).get("XPM_STREAM_HEALTH_PORT", ports["trainer"])
        assert int(asked) == port, name
        assert "healthcheck" not in tree["services"][name], "the image has one"
    for name in ("redis", "prometheus", "grafana"):
        assert tree["services"][name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@each
def test_the_trainer_has_time_for_its_last_checkpoint(tree: dict[str, Any]) -> None:
    trainer = tree["services"]["trainer"]
    assert seconds(trainer["stop_grace_period"]) >= 300
    assert seconds(trainer["stop_grace_period"]) > shutdown_timeout_s(trainer["command"])
    for _, service in roles(tree):
        if service["restart"] == "unless-stopped":
            assert seconds(service["stop_grace_period"]) >= 60


def test_gpus_are_reserved_in_the_override_only() -> None:
    def gpus(tree: dict[str, Any]) -> set[str]:
        resources = {name: service.get("deploy", {}).get("resources", {}) for name, service in tree["services"].items()}
        return {name for name, found in resources.items() if "devices" in found.get("reservations", {})}

    assert gpus(COMPOSED["cpu"]) == set()
    assert gpus(COMPOSED["gpu"]) == {"teacher", "trainer", "labeler"}
    for service in ("teacher", "trainer", "labeler"):
        resources = COMPOSED["gpu"]["services"][service]["deploy"]["resources"]
        assert resources["limits"], "the override dropped the limits"
        assert resources["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert shutdown_timeout_s(COMPOSED["gpu"]["services"]["trainer"]["command"]) > 60


def test_prometheus_accepts_its_file_and_finds_the_rules(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    targets = {target: source for target, (source, _) in mounts(CPU["services"]["prometheus"]).items()}
    for target, source in targets.items():  # as the container sees them
        place = tmp_path / target.removeprefix("/etc/prometheus/")
        if source.endswith(".yaml"):
            shutil.copy(DEPLOY / source, place)
        elif source.startswith("."):
            shutil.copytree(DEPLOY / source, place)
    (tmp_path / "rules" / "broken.yaml").write_text("groups: [{name: a, rules: [{record: b, expr: 'sum('}]}]\n")
    command = [promtool, "check", "config", str(tmp_path / "prometheus.yaml")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode != 0, "it does not look into the rules folder"
    (tmp_path / "rules" / "broken.yaml").unlink()
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    options = dict(word.removeprefix("--").split("=") for word in CPU["services"]["prometheus"]["command"])
    assert options["config.file"] in targets
    assert options["storage.tsdb.path"] in targets


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    folders = mounts(CPU["services"]["grafana"])
    provisioning = DEPLOY / folders["/etc/grafana/provisioning"][0]
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    for file in provisioning.glob("dashboards/*.yaml"):
        for provider in yaml.safe_load(file.read_text(encoding="utf-8"))["providers"]:
            assert provider["options"]["path"] in folders
