"""Which checkpoints of teachers and candidates stay, and why: a function of the log, without files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from xpm_stream.registry.manifest import CheckpointInfo
from xpm_stream.registry.promotion_log import Candidate, PromotionEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """How much is kept."""

    keep_promotions: int  # the last so many teachers that were promoted and not revoked, the champion among them
    keep_candidates: int  # the last so many that were refused, inconclusive, or revoked
    keep_s: float = 0.0  # whatever was promoted or decided so lately stays beyond those counts
    keep_unnamed_s: float  # what neither a candidate nor the log names: its trainer may be about to propose it


def kept_checkpoints(
    entries: Sequence[PromotionEntry],
    candidates: Iterable[Candidate],
    checkpoints: Iterable[CheckpointInfo],
    *,
    pinned: Collection[str],
    policy: RetentionPolicy,
    now_s: float,
) -> dict[str, str]:
    """Return why which checkpoint stays; what is not in here may go, if nobody reads it.

    The champion stays, so labelers, who read nothing else, need no lease; the first teacher too: with
    `teacher.refresh: never` it labels, and a run's evaluation compares with it. Parents that model cards name do not:
    the log keeps their history, and no checkpoint needs another one to be loaded.

    Args:
        entries: the promotion log, oldest first.
        candidates: all that were proposed.
        checkpoints: what is there.
        pinned: names that people want kept.
        policy: how much is kept.
        now_s: Unix time.
    """
    revoked = {entry.target for entry in entries if entry.action == "revoke"}
    live = [entry for entry in entries if entry.is_promotion and entry.origin not in revoked]
    decided = {entry.candidate for entry in entries}
    undecided = [candidate.checkpoint for candidate in candidates if candidate.number not in decided]
    teachers = {entry.checkpoint for entry in live}
    passed_over = [
        entry.checkpoint
        for entry in reversed(entries)
        if entry.action in ("refuse", "inconclusive", "revoke") and entry.checkpoint not in teachers
    ]
    named = {entry.checkpoint for entry in entries} | set(undecided)
    firsts = [*[entry for entry in entries if entry.action == "promote"][:1], *live[:1]]
    kept = {info.name: "not proposed yet" for info in checkpoints if _is_unnamed(info, named, policy, now_s)}
    kept |= dict.fromkeys(_first_distinct(passed_over, policy.keep_candidates), "refused, but lately")
    young = [entry.checkpoint for entry in entries if policy.keep_s and now_s - entry.created_at_s < policy.keep_s]
    kept |= dict.fromkeys(young, "decided within registry.keep_days")
    last = _first_distinct((entry.checkpoint for entry in reversed(live)), policy.keep_promotions)
    kept |= dict.fromkeys(last, "promoted lately")
    kept |= {entry.checkpoint: "the first teacher" for entry in firsts}
    kept |= dict.fromkeys(undecided, "not judged yet")
    kept |= dict.fromkeys(pinned, "pinned")
    kept |= {live[-1].checkpoint: "the champion"} if live else {}
    return kept


def _is_unnamed(info: CheckpointInfo, named: Collection[str], policy: RetentionPolicy, now_s: float) -> bool:
    return info.name not in named and now_s - info.created_at_s < policy.keep_unnamed_s


def _first_distinct(names: Iterable[str], most: int) -> list[str]:
    return list(dict.fromkeys(names))[:most]
