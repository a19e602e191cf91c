"""Label queue: shards under lease, labels on a Redis stream, nothing lost and nothing trained twice.

Names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpm_stream.label_queue.audit import AuditReport, AuditRow
    from xpm_stream.label_queue.codec import decode, encode
    from xpm_stream.label_queue.connection import connect
    from xpm_stream.label_queue.dead_letters import Replay
    from xpm_stream.label_queue.deliveries import (
        Capacity,
        DeadLetter,
        Delivery,
        GiveBack,
        QueueStats,
        RelabelLease,
        RelabelReject,
        RelabelWork,
        Settlement,
    )
    from xpm_stream.label_queue.embedded import EmbeddedServer, start_or_join
    from xpm_stream.label_queue.labelqueue import LabelQueue
    from xpm_stream.label_queue.ranges import OrdinalRanges
    from xpm_stream.label_queue.redis_edge import Outage
    from xpm_stream.label_queue.shards import (
        CommitBatch,
        CorpusProgress,
        Cursor,
        EncodedLabel,
        FinishMark,
        Lease,
        Reject,
        ShardRecord,
        ShardRow,
        ShardState,
    )
    from xpm_stream.label_queue.trained import TrainedLedger

_MODULES = {
    "audit": ("AuditReport", "AuditRow"),
    "codec": ("decode", "encode"),
    "connection": ("connect",),
    "dead_letters": ("Replay",),
    "deliveries": (
        "Capacity",
        "DeadLetter",
        "Delivery",
        "GiveBack",
        "QueueStats",
        "RelabelLease",
        "RelabelReject",
        "RelabelWork",
        "Settlement",
    ),
    "embedded": ("EmbeddedServer", "start_or_join"),
    "labelqueue": ("LabelQueue",),
    "ranges": ("OrdinalRanges",),
    "redis_edge": ("Outage",),
    "shards": (
        "CommitBatch",
        "CorpusProgress",
        "Cursor",
        "EncodedLabel",
        "FinishMark",
        "Lease",
        "Reject",
        "ShardRecord",
        "ShardRow",
        "ShardState",
    ),
    "trained": ("TrainedLedger",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AuditReport",
    "AuditRow",
    "Capacity",
    "CommitBatch",
    "CorpusProgress",
    "Cursor",
    "DeadLetter",
    "Delivery",
    "EmbeddedServer",
    "EncodedLabel",
    "FinishMark",
    "GiveBack",
    "LabelQueue",
    "Lease",
    "OrdinalRanges",
    "Outage",
    "QueueStats",
    "Reject",
    "RelabelLease",
    "RelabelReject",
    "RelabelWork",
    "Replay",
    "Settlement",
    "ShardRecord",
    "ShardRow",
    "ShardState",
    "TrainedLedger",
    "connect",
    "decode",
    "encode",
    "start_or_join",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
