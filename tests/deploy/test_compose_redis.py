"""Real redis-servers, started as deploy/compose.yaml and deploy/kubernetes start them, with secrets made for them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
import yaml
from deployment import DEPLOY, make_secrets
from redis_servers import free_ports, newest_server, until

from xpm_stream.config.schema import QueueConfig, RedisConfig
from xpm_stream.errors import QueueRefused
from xpm_stream.label_queue import LabelQueue, ShardRecord, connect
from xpm_stream.label_queue.keys import Keys
from xpm_stream.records import ShardId

# What KEDA's scaler for Redis lists asks, whatever the key's type.
COUNT = "return redis.call(({zset='zcard', none='llen'})[redis.call('type', KEYS[1]).ok], KEYS[1])"


def as_compose_does() -> tuple[list[str], str, str]:
    """Command line, folder of the secrets, and the health check's shell command."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["redis"]
    check = service["healthcheck"]["test"][1].replace("$$", "$")
    return service["entrypoint"] + service["command"], service["working_dir"], check


def as_kubernetes_does() -> tuple[list[str], str, str]:
    text = (DEPLOY / "kubernetes" / "components" / "redis" / "redis.yaml").read_text(encoding="utf-8")
    pod = next(yaml.safe_load_all(text))["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["startupProbe"]["exec"] == container["readinessProbe"]["exec"]
    check = container["readinessProbe"]["exec"]["command"]
    assert check[:2] == ["sh", "-c"]
    return container["command"] + container["args"], container["workingDir"], check[2]


class Started:
    """A running server, and the passwords it was given."""

    def __init__(self, secrets: Path, port: int, check: str) -> None:
        self.secrets = secrets
        self.port = port
        self.check = check

    def url_of(self, user: str) -> str:
        return f"file://{self.secrets / f'redis_url_{user}'}"

    @contextmanager
    def queue(self, user: str, tmp_path: Path) -> Iterator[LabelQueue]:
        with connect(RedisConfig(url=self.url_of(user)), QueueConfig(), run_folder=tmp_path) as queue:
            yield queue

    def scaler(self) -> redis.Redis:
        password = (self.secrets / "redis_password_scaler").read_text(encoding="utf-8")
        return redis.Redis(port=self.port, username="scaler", password=password)


@pytest.fixture(params=[as_compose_does, as_kubernetes_does], ids=["compose", "kubernetes"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Started]:
    words, secrets_folder, check = request.param()
    port = free_ports()[0]
    secrets = make_secrets(tmp_path / "secrets", "--redis", f"127.0.0.1:{port}")
    data = tmp_path / "data"
    data.mkdir()
    places = {"/etc/redis/redis.conf": DEPLOY / "redis" / "redis.conf", "/data": data}
    places[f"{secrets_folder}/users.acl"] = secrets / "users.acl"
    command: Sequence[str] = [str(places.get(word, word)) for word in words[1:]]
    process = subprocess.Popen(
        [newest_server(), *command, "--port", str(port)], cwd=secrets, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    shown = check.replace(secrets_folder, str(secrets)).replace("redis-cli", f"redis-cli -p {port}")
    try:
        started = Started(secrets, port, shown)
        until(lambda: _answers(started, process), what="redis-server answering")
        yield started
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def addresses_of_this_machine() -> set[str]:
    """Loopback, and the one by which it would reach others, where it has a network."""
    found = {"127.0.0.1"}
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outwards:
        outwards.connect(("192.0.2.1", 9))  # sends nothing; an address that nobody has
        found.add(outwards.getsockname()[0])
    return found


def _answers(server: Started, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, process.communicate()[0]
    try:
        with server.scaler() as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_roles_connect_with_their_own_passwords_and_the_scaler_sees_what_is_left_for_labelers(
    server: Started, tmp_path: Path
) -> None:
    keys = Keys("xpm")
    with server.queue("labeler", tmp_path) as labeler, server.scaler() as scaler:

        def backlog() -> tuple[int, int]:
            pending, leased = (scaler.eval(COUNT, 1, key) for key in (keys.pending, keys.leases))
            return pending, leased

        assert backlog() == (0, 0), "before there is any key"
        labeler.add_shards([ShardRecord(url=f"file:///{name}.tar", shard_id=ShardId(name)) for name in "abc"])
        assert backlog() == (3, 0)
        lease = labeler.acquire("labeler-0")
        assert lease is not None
        assert backlog() == (2, 1), "a shard being labelled is work too"
        with server.queue("trainer", tmp_path) as trainer:
            assert trainer.raise_epoch() == 1
        with server.queue("monitor", tmp_path) as promoter:
            stats = promoter.stats()
            assert (stats.shards_pending, stats.shards_leased) == backlog()
        for forbidden in (
            "HGETALL {xpm}:shards",
            "ZCARD {xpm}:failed",
            "ZADD {xpm}:pending 1 a",
            "XLEN {xpm}:labels",
            "FLUSHALL",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                scaler.execute_command(*forbidden.split())


def test_nobody_gets_in_without_a_password_from_this_machine_or_another(server: Started, tmp_path: Path) -> None:
    for host in addresses_of_this_machine():
        with redis.Redis(host=host, port=server.port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        wrong = RedisConfig(url=f"redis://labeler:wrong@{host}:{server.port}/0", retry_for_s=1)
        with pytest.raises(QueueRefused, match="password"):
            connect(wrong, QueueConfig(), run_folder=tmp_path)


def test_what_redis_conf_promises_still_holds(server: Started) -> None:
    password = (server.secrets / "redis_password_admin").read_text(encoding="utf-8")
    with redis.Redis(port=server.port, username="admin", password=password, decode_responses=True) as admin:
        for name, value in {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}.items():
            assert admin.config_get(name)[name] == value


def test_its_health_check_tells_a_server_that_answers_from_one_that_does_not(server: Started) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not installed (Debian: apt install redis-tools)")

    def healthy(command: str) -> bool:
        return subprocess.run(["sh", "-c", command], timeout=60, check=False, capture_output=True).returncode == 0

    assert healthy(server.check)
    assert not healthy(server.check.replace(str(server.port), str(free_ports()[0])))
    assert not healthy(server.check.replace("--user scaler", "--user nobody"))


def run_folder_for(server: Started, folder: Path, *, user: str, port: int) -> Path:
    """A folder with the configuration that deploy/compose.yaml gives the roles, but for the places of this test."""
    config = yaml.safe_load((DEPLOY / "compose_run.yaml").read_text(encoding="utf-8"))
    config |= {"folder": str(folder), "registry": {"url": str(folder / "registry")}}
    config["redis"]["url"] = server.url_of(user)
    config["metrics"]["port"] = port
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def test_a_role_starts_is_healthy_and_leaves_on_sigterm(server: Started, tmp_path: Path) -> None:
    port = free_ports()[0]
    run = run_folder_for(server, tmp_path / "run", user="monitor", port=port)
    words = [sys.executable, "-m", "xpm_stream.cli.main", "promote", str(run / "config.yaml")]
    environment = {**os.environ, "XPM_STREAM_HEALTH_PORT": str(port + 1)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as promoter:
        try:

            def healthy() -> bool:
                assert promoter.poll() is None, promoter.communicate()[0]
                check = [sys.executable, str(DEPLOY / "healthcheck.py")]
                return subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0

            until(healthy, what="the promoter's health check", within_s=60)
            promoter.send_signal(signal.SIGTERM)
            assert promoter.wait(60) == 0
        finally:
            promoter.kill()
    password = (server.secrets / "redis_url_monitor").read_text(encoding="utf-8").split(":")[2].partition("@")[0]
    for file in (path for path in run.rglob("*") if path.is_file()):
        assert password not in file.read_text(encoding="utf-8"), f"{file.name} holds a password"


def test_the_operators_user_may_do_what_the_operators_service_does(server: Started, tmp_path: Path) -> None:
    run = run_folder_for(server, tmp_path / "run", user="operator", port=0)
    for words in (["audit", str(run)], ["shards", "list", str(run)], ["dead", "list", str(run)]):
        answer = subprocess.run(
            [sys.executable, "-m", "xpm_stream.cli.main", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
