"""Sections of the queue and of what the roles share beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xpm_stream.config.sections import NonNegative, Positive, Seconds, Section


class RedisConfig(Section):
    """Where the label queue lives."""

    url: str = Field(
        "embedded",
        description="`embedded`; any redis://, rediss:// or unix:// URL; or file:///PATH: a file that holds one",
    )
    namespace: str = Field("xpm", pattern=r"^[A-Za-z0-9_.-]+$", description="prefix and hash tag of every key")
    connect_timeout_s: Seconds = Field(5.0, description="one connection attempt")
    retry_for_s: Seconds = Field(60.0, description="how long a role waits for a Redis that went away")
    fsync: Literal["always", "everysec"] = Field(
        "everysec", description="append-only file policy of the embedded server"
    )
    max_memory_mb: NonNegative = Field(0, description="memory limit of the embedded server, MiB; 0: none")


class QueueConfig(Section):
    """Delivery: leases, budgets, dead letters."""

    lease_ttl_s: Seconds = Field(30.0, description="a shard whose labeler says nothing for this long is free again")
    max_unacked_labels: Positive = Field(
        4096, description="labels not yet in a durable checkpoint; labelers wait above it"
    )
    max_unacked_mb: Positive = Field(256, description="the same budget in MiB of encoded messages")
    max_attempts: Positive = Field(3, description="a message that failed this often goes to the dead letters")
    store_patience_s: Seconds = Field(
        300.0,
        description="what a store does not give (a shard, an image) is asked for `max_attempts` times over this long, "
        "the last wait being the longest",
    )
    max_relabels: Positive = Field(
        3, description="a sample relabelled this often is trained or dead-lettered, never again sent back"
    )


class RegistryConfig(Section):
    """Where checkpoints and the promotion log live."""

    url: str | None = Field(None, description="any fsspec URL; none: `registry/` in the run folder")
    retry_for_s: Seconds = Field(60.0, description="how long a role waits for an object store that went away")
    prune: bool = Field(True, description="whether the promoter removes old teachers and candidates")
    keep_promotions: Positive = Field(10, description="teachers kept, the last promoted and not revoked")
    keep_candidates: NonNegative = Field(5, description="candidates kept of those not promoted, and revoked teachers")
    keep_days: Annotated[float, Field(ge=0)] = Field(
        0.0, description="teachers and candidates decided within so many days stay beyond those counts"
    )
    remove_after_s: Annotated[float, Field(ge=0)] = Field(
        3600.0, description="between the mark and the removal of a checkpoint, for those who are reading it"
    )


class MetricsConfig(Section):
    """Prometheus endpoints, one port for each process."""

    enabled: bool = Field(True, description="whether processes open a port at all")
    host: str = Field("127.0.0.1", description="loopback unless configured")
    port: NonNegative = Field(
        9300,
        description="first port: trainer, promoter, then labelers; rank N of a trainer: 1000 + N above it; 0: any free "
        "port, written to the run folder",
    )


class LogsConfig(Section):
    """Files in `logs/` of the run folder: a full one is renamed to `.1`, older ones to `.2` and so on."""

    max_mb: Positive = Field(64, description="MiB above which a new file is begun, ROLE.jsonl and ROLE.out alike")
    keep: Positive = Field(5, description="full files kept of each; the oldest above that is deleted")
