"""The metrics port: a real scrape, health that means something, an address that can be found."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from xpm_stream.errors import ConfigError
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.serving import Health, MetricsServer, read_endpoints, serve_metrics


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    with serve_metrics(Metrics("labeler")) as served:
        yield served


def test_a_scrape_gives_what_was_counted() -> None:
    metrics = Metrics("labeler")
    with serve_metrics(metrics) as server:
        metrics.labeler.samples_read.inc(3)
        metrics.labeler.reliability.observe(0.42)
        status, body = get(f"{server.endpoint.url}/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(body)}
    read = families["xpm_labeler_samples_read"]
    assert read.type == "counter"
    assert next(sample.value for sample in read.samples if sample.name.endswith("_total")) == 3
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["xpm_labeler_reliability_ratio"].samples
        if sample.name.endswith("_bucket")
    }
    assert (buckets["0.4"], buckets["0.45"], buckets["+Inf"]) == (0, 1, 1)
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6


def test_health_gives_its_reasons_at_every_request() -> None:
    away = ["Redis does not answer at redis://queue:6379"]
    with serve_metrics(Metrics("trainer"), health=Health(readiness=lambda: away)) as server:
        status, body = get(f"{server.endpoint.url}/readyz")
        assert (status, json.loads(body)) == (503, {"status": "not ready", "reasons": away})
        assert get(f"{server.endpoint.url}/healthz") == (200, '{"status": "alive", "reasons": []}\n')
        away = []
        assert get(f"{server.endpoint.url}/readyz") == (200, '{"status": "ready", "reasons": []}\n')


def test_other_paths_are_not_found(server: MetricsServer) -> None:
    status, body = get(f"{server.endpoint.url}/secret")
    assert (status, body) == (404, "/metrics  /healthz  /readyz\n")


def test_a_taken_port_is_an_error_that_names_port_and_key(server: MetricsServer) -> None:
    port = server.endpoint.port
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port}: .*in use.*metrics\.port.*0: any"):
        serve_metrics(Metrics("trainer"), port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("192.0.2.1", 0), ("no.such.host.invalid", 0)])
def test_an_address_that_cannot_be_bound_is_an_error(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match=r"cannot serve metrics on .*metrics\.host"):
        serve_metrics(Metrics("trainer"), host=host, port=port)


def test_closing_frees_the_port_and_removes_the_address(tmp_path: Path) -> None:
    server = serve_metrics(Metrics("trainer"), run_folder=tmp_path)
    port = server.endpoint.port
    assert [path.name for path in (tmp_path / "endpoints").iterdir()] == [f"trainer-{os.getpid()}.json"]
    server.close()
    assert list((tmp_path / "endpoints").iterdir()) == []
    with serve_metrics(Metrics("trainer"), port=port) as again:
        assert again.endpoint.port == port


def test_loopback_is_the_default_and_every_address_is_reachable_by_its_url(server: MetricsServer) -> None:
    assert server.endpoint.host == "127.0.0.1"
    hosts = ["0.0.0.0", "::1"] if socket.has_dualstack_ipv6() else ["0.0.0.0"]
    for host in hosts:
        with serve_metrics(Metrics("labeler"), host=host) as open_server:
            assert get(f"{open_server.endpoint.url}/healthz")[0] == 200


def test_a_client_that_says_nothing_does_not_hold_up_a_scrape(server: MetricsServer) -> None:
    with socket.create_connection(("127.0.0.1", server.endpoint.port)):
        assert get(f"{server.endpoint.url}/metrics")[0] == 200


SERVER = """
import sys
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.serving import serve_metrics
with serve_metrics(Metrics("labeler"), run_folder=sys.argv[1]) as server:
    print(server.endpoint.url, flush=True)
    sys.stdin.readline()
assert "torch" not in sys.modules
"""


def test_the_processes_of_a_run_are_found_and_killed_ones_are_not(tmp_path: Path) -> None:
    assert read_endpoints(tmp_path) == []
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        urls = []
        for process in processes:
            assert process.stdout is not None
            urls.append(process.stdout.readline().strip())
        assert {endpoint.url for endpoint in read_endpoints(tmp_path)} == set(urls)
        assert all(get(f"{url}/metrics")[0] == 200 for url in urls)
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        assert [endpoint.pid for endpoint in read_endpoints(tmp_path)] == [processes[1].pid]
        processes[1].communicate("\n", timeout=20)
        assert processes[1].returncode == 0
        assert read_endpoints(tmp_path) == []
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_run_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "endpoints").write_text("a file")
    with pytest.raises(ConfigError, match="cannot write the metrics endpoint into run folder"):
        serve_metrics(Metrics("labeler"), run_folder=tmp_path)
