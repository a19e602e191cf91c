"""The Kubernetes manifests as a test sees them: as files, and as kustomize builds the overlays."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployment import DEPLOY

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu")
NAMESPACE = "xpm-stream"
Manifest = dict[str, Any]


def manifests_of_files() -> list[Manifest]:
    """What base and components hold, before kustomize: all tests run on these where there is no kustomize."""
    files = [*KUBERNETES.glob("base/*.yaml"), *KUBERNETES.glob("components/*/*.yaml")]
    found = [load_all(file.read_text(encoding="utf-8")) for file in sorted(files) if is_manifest(file)]
    return [manifest for manifests in found for manifest in manifests]


def is_manifest(file: Path) -> bool:
    return file.name not in ("kustomization.yaml", "run.yaml")


def load_all(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


@functools.cache
def built(overlay: str) -> list[Manifest]:
    """An overlay with every component, as `kubectl kustomize` makes it; skips the test where there is none."""
    known = {"kubectl": ["kubectl", "kustomize"], "kustomize": ["kustomize", "build"]}
    words = next((words for name, words in known.items() if shutil.which(name)), None)
    if words is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(DEPLOY, Path(folder) / "deploy")
        kustomization = copy / "kubernetes" / "overlays" / overlay / "kustomization.yaml"
        text = kustomization.read_text(encoding="utf-8")
        everything = re.sub(r"^  # - (\.\./\.\./components/)", r"  - \1", text, flags=re.MULTILINE)
        kustomization.write_text(everything, encoding="utf-8")
        answer = subprocess.run(
            [*words, str(kustomization.parent)], capture_output=True, text=True, timeout=120, check=False
        )
    assert answer.returncode == 0, answer.stderr
    return load_all(answer.stdout)


def manifests(source: str) -> list[Manifest]:
    return manifests_of_files() if source == "files" else built(source)


def of_kind(source: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests(source) if manifest["kind"] in kinds]


def named(source: str, kind: str, name: str) -> Manifest:
    return next(manifest for manifest in of_kind(source, kind) if manifest["metadata"]["name"] == name)


def workloads(source: str) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Name, pod template, and pod of each."""
    for manifest in of_kind(source, "Deployment", "StatefulSet"):
        template = manifest["spec"]["template"]
        yield manifest["metadata"]["name"], template, template["spec"]


def containers(source: str) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Name of the workload, its pod, and each container of it, those that run first included."""
    for name, _, pod in workloads(source):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield name, pod, container


def our_containers(source: str) -> Iterator[tuple[str, Manifest, Manifest]]:
    return (found for found in containers(source) if found[2]["image"].partition(":")[0] == "xpm-stream")
