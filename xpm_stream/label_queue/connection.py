"""Opening the label queue: embedded or given by URL, single server or Cluster, checked before first use."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis
import redis.backoff
import redis.retry

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.errors import QueueRefused
from xpm_stream.label_queue.embedded import start_or_join
from xpm_stream.label_queue.labelqueue import LabelQueue
from xpm_stream.label_queue.redis_edge import Outage, RedisEdge
from xpm_stream.label_queue.redis_errors import masked_url
from xpm_stream.label_queue.redis_url import check_url, not_a_url, read_url

_OLDEST: Final = (6, 2)


def connect(
    config: RedisConfig,
    queue: QueueConfig,
    *,
    run_folder: Path,
    on_outage: Callable[[Outage], None] | None = None,
    stop: threading.Event | None = None,
) -> LabelQueue:
    """Opens the queue, starting or joining the run's embedded server where the URL is `embedded`.

    Who has joined one whose owner ends takes it over.

    Args:
        config: where Redis is.
        queue: leases and budgets.
        run_folder: the run's folder; the embedded server keeps its data in `redis/` there.
        on_outage: called before each repeated attempt while Redis is away: log it and count it.
        stop: when set, waiting for an absent Redis ends at once with QueueUnavailable.

    Raises:
        ConfigError: the URL is not one, or has an option that cannot work.
        QueueUnavailable: Redis cannot be reached for `retry_for_s`.
        QueueRefused: wrong password, missing rights, too old, or `maxmemory-policy` is not noeviction.
    """
    if config.url != "embedded":
        return open_url(config.url, config, queue, on_outage=on_outage, stop=stop)
    server = start_or_join(config, run_folder=run_folder)

    def take_over(outage: Outage) -> None:
        server.take_over(config)
        if on_outage is not None:
            on_outage(outage)

    try:
        opened = open_url(server.url, config, queue, on_outage=take_over, stop=stop)
    except BaseException:
        server.stop()
        raise
    opened.server = server
    return opened


def open_url(
    url: str,
    config: RedisConfig,
    queue: QueueConfig,
    *,
    on_outage: Callable[[Outage], None] | None = None,
    stop: threading.Event | None = None,
) -> LabelQueue:
    """Opens the queue on the Redis at `url`, or at the URL in the file that it names; raises what `connect` does."""
    url = read_url(url)
    check_url(url)
    where = masked_url(url)
    options: dict[str, Any] = {
        "socket_timeout": config.connect_timeout_s,
        "socket_connect_timeout": config.connect_timeout_s,
        "protocol": 2,
        # Attempts are repeated by RedisEdge, which reports them and ends when the role is told to stop.
        "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),
    }

    def edge_of(client: Any) -> RedisEdge:
        return RedisEdge(
            client,
            where=where,
            retry_for_s=config.retry_for_s,
            block_limit_ms=min(1000, round(config.connect_timeout_s * 500)),
            on_outage=on_outage,
            stop=stop,
        )

    edge = edge_of(_client(redis.Redis, url, options))
    facts = edge.command("info", "everything", doing="connecting")
    if facts.get("cluster_enabled"):  # not by `redis_mode`, which Valkey calls otherwise
        edge.close()
        single = edge
        edge = edge_of(
            single.call(lambda: _client(redis.RedisCluster, url, options), doing="joining the Redis Cluster")
        )
        # Not only the node of the URL: each may be set otherwise, and slots move.
        for node in edge.client.get_primaries():
            of_node = edge.command("info", "everything", target_nodes=node, doing="asking the Cluster's nodes")
            _check_server(of_node, where=f"{where} (node {node.name})")
    else:
        _check_server(facts, where=where)
    return LabelQueue(edge, namespace=config.namespace, config=queue)


def _client(kind: Any, url: str, options: dict[str, Any]) -> Any:
    try:
        return kind.from_url(url, **options)
    except ValueError:
        raise not_a_url() from None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _check_server(facts: dict[str, Any], *, where: str) -> None:
    if _version(str(facts.get("redis_version", "0"))) < _OLDEST:
        raise QueueRefused(f"Redis at {where} is {facts.get('redis_version')}; the label queue needs 6.2 or newer")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise QueueRefused(
            f"Redis at {where} has maxmemory-policy {policy} and may evict labels nobody has trained: "
            "set it to noeviction (redis-cli CONFIG SET maxmemory-policy noeviction, and in its configuration file)"
        )
