"""Redis behind TLS, with a user and a password: what works, and the one clear error for what does not."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from queue_examples import all_labels, opened, shard
from redis_servers import PASSWORD, RedisServer, free_ports, has_tls
from tls_files import make_authority, make_certificate

from xpm_stream.errors import ConfigError, QueueRefused, QueueUnavailable
from xpm_stream.label_queue import TrainedLedger

SECRET = "p@ss/w:rd?#1"  # every character that ends a password in a URL
ENCODED = "p%40ss%2Fw%3Ard%3F%231"


@dataclass
class TlsServer:
    folder: Path
    port: int
    plain_port: int

    def url(self, *, user="worker", password=ENCODED, host="localhost", ca="ca.pem", options=""):
        return f"rediss://{user}:{password}@{host}:{self.port}/0?ssl_ca_certs={self.folder / ca}{options}"


@pytest.fixture(scope="module")
def tls(redis_binary, tmp_path_factory):
    if not has_tls(redis_binary):
        pytest.skip(f"{redis_binary} is built without TLS")
    folder = tmp_path_factory.mktemp("tls")
    make_authority(folder, "ca")
    make_authority(folder, "other")
    make_certificate(folder, "server", authority="ca")
    make_certificate(folder, "client", authority="ca")
    port = free_ports()[0]
    options = {"tls-port": port, "tls-ca-cert-file": folder / "ca.pem", "tls-auth-clients": "optional"}
    options |= {"tls-cert-file": folder / "server.pem", "tls-key-file": folder / "server.key"}
    server = RedisServer(redis_binary, folder / "data", durable=False, **options)
    with server, server.client() as client:
        client.acl_setuser("worker", enabled=True, passwords=[f"+{SECRET}"], commands=["+@all"], keys=["*"])
        yield TlsServer(folder, port, server.port)


def test_a_user_works_over_tls(tls):
    with opened(tls.url(), "tls") as queue:
        queue.add_shards([shard("a")])
        queue.commit(lease := queue.acquire("w"), all_labels(lease, 3))
        queue.raise_epoch()
        assert queue.acknowledge(queue.read("r", count=9)) == 3
        assert queue.audit(TrainedLedger()).totals()["samples"] == 3


def test_a_clients_own_certificate_is_sent(tls):
    files = f"&ssl_certfile={tls.folder / 'client.pem'}&ssl_keyfile={tls.folder / 'client.key'}"
    with opened(f"redis://:{PASSWORD}@127.0.0.1:{tls.plain_port}/0", "t") as operator:
        operator.edge.client.config_set("tls-auth-clients", "yes")
        with opened(tls.url(options=files), "t") as queue:
            assert queue.ping()
        with pytest.raises(QueueUnavailable):
            opened(tls.url(), "t", retry_for_s=0.2)
        operator.edge.client.config_set("tls-auth-clients", "optional")


@pytest.mark.parametrize(
    ("changed", "kind", "says"),
    [
        ({"password": "wrong-secret"}, QueueRefused, "refuses the user or password"),
        ({"user": "nobody"}, QueueRefused, "refuses the user or password"),
        ({"ca": "other.pem"}, QueueRefused, r"not trusted .*self-signed.*\?ssl_ca_certs="),
        ({"host": "127.0.0.1"}, QueueRefused, r"not trusted .*mismatch.* the host as the certificate does"),
        ({"ca": "nowhere.pem"}, ConfigError, r"ssl_ca_certs names .*nowhere\.pem, which is not there"),
        ({"options": "&ssl_cert_reqs=perhaps"}, ConfigError, "may be none, optional, required"),
        ({"options": "&ssl_ca_cert=x"}, ConfigError, "did you mean ssl_ca_certs"),
    ],
)
def test_what_waiting_cannot_cure_is_refused_at_once_without_the_password(tls, changed, kind, says):
    with pytest.raises(kind, match=says) as caught:
        opened(tls.url(**changed), "t", retry_for_s=600)
    for secret in (SECRET, ENCODED, "wrong-secret"):
        assert secret not in str(caught.value)


def test_a_plain_connection_to_a_tls_port_and_the_reverse_say_what_to_write(tls):
    for url, hint in (
        (f"redis://worker:{ENCODED}@localhost:{tls.port}/0", "needs rediss://"),
        (f"rediss://worker:{ENCODED}@localhost:{tls.plain_port}/0", "needs redis://"),
    ):
        with pytest.raises(QueueUnavailable, match=hint) as caught:
            opened(url, "t", retry_for_s=0.2, connect_timeout_s=1.0)
        assert ENCODED not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://worker:a?b=c@host:6379/0", "percent-encode the password"),
        ("redis://worker:a#b@host:6379/0", "percent-encode the password"),
        ("redis://worker:hunter2@host:6379/queue", "write redis://user:password@host:port/db"),
        ("redis://host:6379/0?ssl_ca_certs=ca.pem", "begin it with rediss://"),
        ("redis://host:6379/0?decode_responses=1", "no option 'decode_responses'"),
    ],
)
def test_a_url_that_would_mean_something_else_is_a_config_error(url, says):
    with pytest.raises(ConfigError, match=says) as caught:
        opened(url, "t")
    assert "hunter2" not in str(caught.value)
    assert "c@host" not in str(caught.value)
