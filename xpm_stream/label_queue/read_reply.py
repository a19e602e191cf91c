"""What read.lua hands out, as deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from xpm_stream.errors import MessageError, SchemaTooNew
from xpm_stream.label_queue.codec import decode
from xpm_stream.label_queue.deliveries import Delivery
from xpm_stream.label_queue.keys import parse_sample
from xpm_stream.records import LabelMessage, SampleId


class _Fact(msgspec.Struct, array_like=True, gc=False):
    """What read.lua says of one label."""

    entry_id: str
    sample: str
    deliveries: int
    failures: int
    relabels: int
    size: int
    tried: int
    passed: int


_FACTS: Final = msgspec.msgpack.Decoder(list[_Fact])


def deliveries_of(reply: Sequence[Any]) -> list[Delivery]:
    """The labels in the reply of read.lua.

    Raises:
        SchemaTooNew: this release cannot read one of them: it must neither bury it nor count that against it.
    """
    messages, found, at = reply[3], [], 0
    for fact in _FACTS.decode(reply[2]):
        found.append(_delivery(fact, messages[at : at + fact.size]))
        at += fact.size
    return found


def _delivery(fact: _Fact, data: bytes) -> Delivery:
    sample: SampleId | None = None
    message: LabelMessage | MessageError
    try:
        message = decode(data)
        sample = message.sample
        # An entry that names no sample is taken at its message's word.
        if fact.sample and fact.sample != f"{sample.pass_index}:{sample.shard_id}:{sample.ordinal}":
            sample = parse_sample(fact.sample.encode("ascii"))
            message = MessageError(f"entry is of sample {fact.sample}, but its message is of {message.sample}")
    except SchemaTooNew:
        raise
    except MessageError as error:
        message = error
        sample = parse_sample(fact.sample.encode("ascii"))
    return Delivery(
        entry_id=fact.entry_id,
        sample=sample,
        message=message,
        size_bytes=len(data),
        deliveries=fact.deliveries,
        attempts=fact.failures,
        relabels=fact.relabels,
        tried=fact.tried,
        passed=fact.passed,
    )
