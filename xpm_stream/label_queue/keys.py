"""Names of the keys of one namespace. All share the hash tag `{namespace}`, so that scripts work in a Cluster."""

from __future__ import annotations

from typing import Final

from xpm_stream.records import SampleId, ShardId

GROUP: Final = "trainers"  # the label stream's one consumer group


class Keys:
    """Key names of a namespace; `docs/delivery.md` says what each holds."""

    __slots__ = (
        "counters",
        "dead",
        "failed",
        "failures",
        "grant_deadlines",
        "grants",
        "labels",
        "leases",
        "meta",
        "namespace",
        "pending",
        "relabel_leases",
        "relabel_queue",
        "relabel_troubles",
        "relabels",
        "shards",
        "watched",
    )

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.labels = f"{{{namespace}}}:labels"
        self.shards = f"{{{namespace}}}:shards"
        self.pending = f"{{{namespace}}}:pending"
        self.leases = f"{{{namespace}}}:leases"
        self.failed = f"{{{namespace}}}:failed"
        self.meta = f"{{{namespace}}}:meta"
        self.counters = f"{{{namespace}}}:counters"
        self.failures = f"{{{namespace}}}:failures"
        self.grants = f"{{{namespace}}}:grants"
        self.grant_deadlines = f"{{{namespace}}}:grant_deadlines"
        self.dead = f"{{{namespace}}}:dead"
        self.relabels = f"{{{namespace}}}:relabels"
        self.relabel_queue = f"{{{namespace}}}:relabel_queue"
        self.relabel_leases = f"{{{namespace}}}:relabel_leases"
        self.relabel_troubles = f"{{{namespace}}}:relabel_troubles"
        self.watched = f"{{{namespace}}}:watched"

    def skipped_bits(self, shard_key: str) -> str:
        """Bitmap by ordinal: samples of the shard that were skipped."""
        return f"{{{self.namespace}}}:skipped_bits:{shard_key}"

    def dead_bits(self, shard_key: str) -> str:
        """Bitmap by ordinal: samples of the shard that are dead letters, purged ones included."""
        return f"{{{self.namespace}}}:dead_bits:{shard_key}"


def shard_key(sample: SampleId) -> str:
    """`pass:shard_id` of a sample."""
    return f"{sample.pass_index}:{sample.shard_id}"


def parse_sample(text: bytes) -> SampleId | None:
    """Reads `pass:shard_id:ordinal`; none when it is not that."""
    parts = text.split(b":")
    if len(parts) != 3 or not (parts[0].isdigit() and parts[2].isdigit()):
        return None
    try:
        return SampleId(int(parts[0]), ShardId(parts[1].decode("ascii")), int(parts[2]))
    except UnicodeDecodeError:
        return None
