"""Translation of redis-py's errors at the edge. No message carries a password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import redis.exceptions

from xpm_stream.errors import EpochFenced, LeaseLost, QueueError, QueueRefused, QueueUnavailable


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an error answer of Redis means to a user."""

    tokens: tuple[str, ...]  # any of these is in the answer: redis-py's class, Redis' code (inside the text in 6.2)
    meaning: str
    way_out: str
    transient: bool  # waiting may help


_REFUSALS: Final = (
    _Answer(
        ("OutOfMemoryError", "OOM "),
        "is out of memory",
        "raise its `maxmemory` above queue.max_unacked_mb, or lower the budget; acknowledging frees memory",
        True,
    ),
    _Answer(
        ("ReadOnlyError", "READONLY"),
        "is a read-only replica",
        "point redis.url at the primary; during a failover waiting helps",
        True,
    ),
    _Answer(
        ("MISCONF",),
        "cannot write its append-only file or snapshot",
        "free disk space where Redis keeps its data",
        True,
    ),
    _Answer(("NOREPLICAS",), "has too few replicas in touch", "see `min-replicas-to-write` in its configuration", True),
    _Answer(
        ("NoPermissionError", "NOPERM", "can't run this command", "no permissions"),
        "does not permit this user what the role needs",
        "give the user the rights of its role in deploy/redis/users.acl",
        False,
    ),
    _Answer(
        ("NOAUTH", "Authentication required"),
        "asks for a password",
        "put it in redis.url: redis://:PASSWORD@host:port/0",
        False,
    ),
    _Answer(
        ("WRONGPASS", "invalid password", "invalid username-password"),
        "refuses the user or password",
        "check the user and password in redis.url",
        False,
    ),
    _Answer(("called without any password",), "has no password set", "take the password out of redis.url", False),
)
_ABSENCES: Final = ("LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED")
# Said where an address answers, but not as expected: a plain connection to a TLS port is cut or left without an answer.
_TLS_HINTS: Final = {
    "redis:": "; a port that speaks TLS needs rediss://",
    "rediss:": "; a port without TLS needs redis://",
}


class TransientRefusal(QueueRefused):
    """Redis refuses now and may not later (memory, disk, failover): retried like an absence."""


def masked_url(url: str) -> str:
    """The URL with its password, and any secret in its query, replaced by `***`."""
    # By pattern and up to the last @, because a password nobody percent-encoded must not show either.
    without = re.sub(r"^(\w+://[^:@/]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&]\w*pass\w*=)[^&]*", r"\1***", without, flags=re.IGNORECASE)


def translated(error: Exception, *, where: str, doing: str) -> QueueError:
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
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("CERTIFICATE_VERIFY_FAILED]")[2].partition(" (_ssl")[0].strip()
        return QueueRefused(
            f"{doing}: the certificate of Redis at {where} is not trusted ({reason}); name its authority's file in "
            "redis.url (?ssl_ca_certs=/path/to/ca.pem), and the host as the certificate does"
        )
    named = f"{type(error).__name__} {text}"
    for answer in _REFUSALS:
        if any(token in named for token in answer.tokens):
            kind = TransientRefusal if answer.transient else QueueRefused
            return kind(f"{doing}: Redis at {where} {answer.meaning}; {answer.way_out}")
    if isinstance(error, redis.exceptions.AuthenticationError):
        return QueueRefused(f"{doing}: Redis at {where} refuses the user or password; check both in redis.url")
    absent = (
        redis.exceptions.ConnectionError,
        redis.exceptions.TimeoutError,
        redis.exceptions.ClusterDownError,
        redis.exceptions.ClusterError,  # the client followed a moving slot for as long as it is willing to
        redis.exceptions.AskError,  # MOVED too
        redis.exceptions.TryAgainError,
        redis.exceptions.RedisClusterException,
        OSError,
    )
    if isinstance(error, absent) or any(token in text for token in _ABSENCES):
        answered = doing == "connecting" and "refused" not in text.lower()
        hint = _TLS_HINTS.get(where.partition("//")[0], "") if answered else ""
        return QueueUnavailable(
            f"{doing}: Redis at {where} cannot be reached ({text}); start it, or correct redis.url{hint}"
        )
    return QueueRefused(f"{doing}: Redis at {where} answered: {text}")
