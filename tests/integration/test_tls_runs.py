"""Whole roles at a Redis that speaks TLS and asks for clients' certificates, and one that it cannot prove itself to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_servers import PASSWORD, RedisServer, free_ports, has_tls, newest_server, until
from stub_runs import PATIENCE_S, StubRun, make_stub_run
from tls_files import make_authority, make_certificate


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Of the server and of clients, by one authority; and another one."""
    folder = tmp_path / "tls"
    folder.mkdir()
    make_authority(folder, "ca")
    make_authority(folder, "other")
    make_certificate(folder, "server", authority="ca")
    make_certificate(folder, "client", authority="ca")
    return folder


@pytest.fixture
def run(certificates: Path, tmp_path: Path) -> Iterator[StubRun]:
    binary = newest_server()
    if not has_tls(binary):
        pytest.skip(f"{binary} is built without TLS")
    options = {"tls-port": free_ports()[0], "tls-auth-clients": "yes", "tls-ca-cert-file": certificates / "ca.pem"}
    options |= {"tls-cert-file": certificates / "server.pem", "tls-key-file": certificates / "server.key"}
    with RedisServer(binary, tmp_path / "redis", **options):
        made = make_stub_run(
            tmp_path / "stub",
            redis={"url": url(certificates, options["tls-port"]), "retry_for_s": 60.0},
            shards=2,
            samples_per_shard=100,
            pace_ms=0,
        )
        yield made
        made.end()


def url(certificates: Path, port: object, *, authority: str = "ca") -> str:
    files = f"ssl_certfile={certificates}/client.pem&ssl_keyfile={certificates}/client.key"
    return f"rediss://:{PASSWORD}@localhost:{port}/0?ssl_ca_certs={certificates}/{authority}.pem&{files}"


@pytest.mark.slow
def test_a_run_goes_through_tls_from_the_first_label_to_the_last(run: StubRun) -> None:
    mistaken = run.config.redis.url.replace("ca.pem", "other.pem")
    refused = run.start("train", redis_url=mistaken)
    run.processes.remove(refused)
    until(lambda: refused.exitcode is not None, what="a trainer with the wrong authority leaving", within_s=PATIENCE_S)
    assert refused.exitcode == 1
    said = run.said()
    assert "QueueRefused: connecting: the certificate of Redis at rediss://:***@localhost" in said
    assert "is not trusted" in said
    assert "?ssl_ca_certs=/path/to/ca.pem" in said
    assert PASSWORD not in said

    run.finish(run.start_all())
    run.check_each_trained_once()
    everything = [path.read_text(errors="replace") for path in run.folder.glob("logs/*")]
    assert everything
    assert not any(PASSWORD in text for text in everything)
