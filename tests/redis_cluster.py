"""A real Redis Cluster for tests: some nodes on loopback, and the moving of slots between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis
from redis_servers import PASSWORD, RedisServer, until

SLOTS = 16384


class RedisCluster:
    """Nodes that share the slots evenly."""

    def __init__(self, binary: Path, folder: Path, *, durable: bool = False, nodes: int = 3) -> None:
        settings = {"cluster_enabled": "yes", "cluster_node_timeout": 2000, "masterauth": PASSWORD}
        self.nodes = [RedisServer(binary, folder / f"node{one}", durable=durable, **settings) for one in range(nodes)]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            first, last = self._slots(number)
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.ask(0, "CLUSTER MEET", "127.0.0.1", node.port)
        for node in self.nodes:
            until(lambda node=node: self._whole(node), what="cluster")

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> RedisCluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, number: int, *command: object) -> Any:
        """One node's answer."""
        with self.nodes[number].client() as client:
            return client.execute_command(*command)

    def slot_of(self, namespace: str) -> int:
        return int(self.ask(0, "CLUSTER KEYSLOT", f"{{{namespace}}}:labels"))

    def owner_of(self, slot: int) -> int:
        return next(number for number in range(len(self.nodes)) if slot in range(*self._slots(number)))

    def keys_in(self, number: int, slot: int) -> list[bytes]:
        return list(self.ask(number, "CLUSTER GETKEYSINSLOT", slot, 10_000))

    def open_move(self, slot: int, *, source: int, target: int) -> None:
        """Begin to move a slot: what is not at its source any more is asked for at its target."""
        self.ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", self._name(source))
        self.ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", self._name(target))

    def move_key(self, key: bytes, *, source: int, target: int) -> None:
        self.ask(source, "MIGRATE", "127.0.0.1", self.nodes[target].port, key, 0, 10_000, "AUTH", PASSWORD)

    def close_move(self, slot: int, *, target: int) -> None:
        """End it: the slot belongs to its target."""
        name = self._name(target)
        for number in (target, *(other for other in range(len(self.nodes)) if other != target)):
            self.ask(number, "CLUSTER SETSLOT", slot, "NODE", name)

    def _slots(self, number: int) -> tuple[int, int]:
        """The first slot of a node at the start, and the first behind it."""
        return number * SLOTS // len(self.nodes), (number + 1) * SLOTS // len(self.nodes)

    def _name(self, number: int) -> str:
        return bytes(self.ask(number, "CLUSTER MYID")).decode()

    def _whole(self, node: RedisServer) -> bool:
        with node.client() as client:
            try:
                known = len(client.cluster("nodes"))
                return client.cluster("info")["cluster_state"] == "ok" and known == len(self.nodes)
            except redis.exceptions.RedisError:
                return False
