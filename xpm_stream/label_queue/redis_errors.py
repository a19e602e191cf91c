"""Translation of redis-py's errors at the edge. No message carries a password."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.exceptions

from xpm_stream.errors import EpochFenced, LeaseLost, QueueError, QueueRefused, QueueUnavailable


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an error answer of Redis means to a user."""

    token: str  # in the answer's text; inside a script's error in 6.2, in front of it in 7.0 and later
    meaning: str
    way_out: str
    transient: bool  # waiting may help


_REFUSALS: Final = (
    _Answer(
        "OOM ",
        "is out of memory",
        "raise its `maxmemory` above queue.max_unacked_mb, or lower the budget; acknowledging frees memory",
        True,
    ),
    _Answer(
        "READONLY",
        "is a read-only replica",
        "point redis.url at the primary; during a failover waiting helps",
        True,
    ),
    _Answer(
        "MISCONF", "cannot write its append-only file or snapshot", "free disk space where Redis keeps its data", True
    ),
    _Answer("NOREPLICAS", "has too few replicas in touch", "see `min-replicas-to-write` in its configuration", True),
    _Answer(
        "NOPERM",
        "does not permit this user what the role needs",
        "give the user the rights of its role in deploy/redis/users.acl",
        False,
    ),
    _Answer(
        "can't run this command", "does not permit this user what the role needs", "see deploy/redis/users.acl", False
    ),
    _Answer("NOAUTH", "asks for a password", "put it in redis.url: redis://:PASSWORD@host:port/0", False),
    _Answer("WRONGPASS", "refuses the user or password", "check the user and password in redis.url", False),
    _Answer("invalid password", "refuses the password", "check the password in redis.url", False),
    _Answer("invalid username-password", "refuses the user or password", "check both in redis.url", False),
    _Answer("Authentication required", "asks for a password", "put it in redis.url", False),
    _Answer("AUTH <password> called without", "has no password set", "take the password out of redis.url", False),
)
_ABSENCES: Final = ("LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED")


class TransientRefusal(QueueRefused):
    """Redis refuses now and may not later (memory, disk, failover): retried like an absence."""


def masked_url(url: str) -> str:
    """The URL with its password, and any secret in its query, replaced by `***`."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if "@" in netloc:
        credentials, _, host = netloc.rpartition("@")
        user, colon, _ = credentials.partition(":")
        netloc = f"{user}{colon}{'***' if colon else ''}@{host}"
    query = [(name, "***" if "pass" in name.lower() else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query, safe="*/"), ""))


def translated(error: redis.exceptions.RedisError | OSError, *, where: str, doing: str) -> QueueError:
    """The error of our tree for one of redis-py's.

    Args:
        error: what redis-py (or the socket below it) raised.
        where: the server's masked URL.
        doing: what was asked, for the message.
    """
    text = str(error)
    if text.startswith("LEASELOST"):
        return LeaseLost(text.removeprefix("LEASELOST").strip())
    if text.startswith("EPOCHFENCED"):
        return EpochFenced(text.removeprefix("EPOCHFENCED").strip())
    for answer in _REFUSALS:
        if answer.token in text:
            kind = TransientRefusal if answer.transient else QueueRefused
            return kind(f"{doing}: Redis at {where} {answer.meaning}; {answer.way_out}")
    if isinstance(error, redis.exceptions.AuthenticationError):
        return QueueRefused(f"{doing}: Redis at {where} refuses the user or password; check both in redis.url")
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return TransientRefusal(f"{doing}: Redis at {where} is a read-only replica; point redis.url at the primary")
    absent = (
        redis.exceptions.ConnectionError,
        redis.exceptions.TimeoutError,
        redis.exceptions.ClusterDownError,
        redis.exceptions.RedisClusterException,
        OSError,
    )
    if isinstance(error, absent) or any(token in text for token in _ABSENCES):
        return QueueUnavailable(f"{doing}: Redis at {where} cannot be reached ({text}); start it, or correct redis.url")
    return QueueRefused(f"{doing}: Redis at {where} answered: {text}")
