"""What a person should know of a run, and what needs one: the rules behind the report's verdict and status' exit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from xpm_stream.monitoring.standing import Absent, QueueStanding, RunStanding
from xpm_stream.monitoring.times import utc_text
from xpm_stream.monitoring.view_parts import age_text, counted

_START_PATIENCE_S: Final = 300.0  # a process that is not ready for longer than this does not merely start
# Fewer dead letters, of all samples that ended somewhere, are the web's usual damage.
_MANY_DEAD: Final = 0.01
_FEW_DEAD: Final = 10  # so many say nothing yet, whatever their share


class Concern(msgspec.Struct, frozen=True, kw_only=True):
    """One thing worth saying."""

    needs_person: bool  # else it is worth knowing only
    what: str
    way_out: str = ""


def concerns_of(standing: RunStanding) -> list[Concern]:
    """Return what is to be said, what needs a person first."""
    found = [
        *_of_roles(standing),
        *_of_queue(standing),
        *_of_promotions(standing),
        *_of_drift(standing),
    ]
    return sorted(found, key=lambda concern: not concern.needs_person)


def _of_roles(standing: RunStanding) -> Iterator[Concern]:
    if standing.phase == "stopped":
        yield Concern(
            needs_person=True,
            what="nothing works on this run, and it is not finished",
            way_out=f"xpm-stream up {standing.folder}/config.yaml goes on where it stopped",
        )
    if isinstance(standing.roles, Absent):
        yield Concern(needs_person=False, what=standing.roles.why)
        return
    # Whoever waits for pretraining or a first teacher may wait long.
    before = any(role.role in ("pretrainer", "teacher") and role.state == "ready" for role in standing.roles)
    for role in standing.roles:
        who = f"{role.role} (pid {role.pid})"
        up_s = standing.looked_at_s - role.started_at_s
        if role.state == "killed" and standing.phase == "running":
            yield Concern(
                needs_person=True,
                what=f"{who} was killed and is not back",
                way_out=f"see logs/{role.role}*.out in the run folder, and start it again",
            )
        elif role.state == "silent":
            yield Concern(needs_person=up_s > _START_PATIENCE_S, what=f"{who} does not answer at {role.url}")
        elif role.state == "not_ready":
            why = "; ".join(role.reasons) or "it gives no reason"
            yield Concern(needs_person=up_s > _START_PATIENCE_S and not before, what=f"{who} is not ready: {why}")


def _of_queue(standing: RunStanding) -> Iterator[Concern]:
    queue = standing.queue
    if isinstance(queue, Absent):
        yield Concern(needs_person=standing.phase != "not_begun", what=queue.why)
        return
    if queue.shards_failed:
        yield Concern(
            needs_person=True,
            what=f"{counted(queue.shards_failed, 'shard')} could not be read",
            way_out=f"xpm-stream shards list {standing.folder}",
        )
    if queue.dead_letters:
        share = queue.dead_letters / max(_ended(queue), 1)
        yield Concern(
            needs_person=share > _MANY_DEAD and queue.dead_letters > _FEW_DEAD,
            what=f"{counted(queue.dead_letters, 'dead letter')}, {share:.1%} of the samples so far ({_reasons(queue)})",
            way_out=f"xpm-stream dead list {standing.folder}",
        )
    if queue.unacked_labels >= queue.max_unacked_labels or queue.unacked_bytes >= queue.max_unacked_bytes:
        yield Concern(
            needs_person=False, what="the budget of unacknowledged labels is used up: labelers wait for the trainer"
        )


def _of_promotions(standing: RunStanding) -> Iterator[Concern]:
    if isinstance(standing.promotions, Absent):
        yield Concern(needs_person=True, what=f"the promotion log cannot be read: {standing.promotions.why}")
        return
    if standing.promotions and standing.champion is None:
        yield Concern(
            needs_person=True,
            what="no teacher is in force: every promotion was refused or revoked",
            way_out="see the reasons in the promotion history",
        )
    limit = standing.max_failures
    if limit is not None and standing.failures_in_a_row >= limit:
        yield Concern(
            needs_person=True,
            what=f"{standing.failures_in_a_row} candidates in a row failed: nothing is promoted until a person decides",
            way_out="xpm-stream checkpoints history | promote | rollback",
        )
    elif standing.failures_in_a_row:
        yield Concern(
            needs_person=False,
            what=f"not promoted, one after the other: {counted(standing.failures_in_a_row, 'candidate')}"
            + (f" (limit {limit} in a row)" if limit is not None else ""),
        )


def _of_drift(standing: RunStanding) -> Iterator[Concern]:
    window = standing.last_window
    if window is None:
        return
    alarms = sorted(verdict.reference for verdict in window.verdicts if verdict.status == "drift")
    if window.brake:
        since = f" since {utc_text(window.brake_since_s)}" if window.brake_since_s is not None else ""
        why = [*window.brake_reasons, "if it is the teacher: xpm-stream checkpoints rollback | revoke"]
        yield Concern(
            needs_person=True,
            what=f"drift holds promotions back{since}",
            way_out="; ".join(why),
        )
    elif alarms and not window.by_teacher_only:  # a better teacher labels otherwise: the gates have judged it
        yield Concern(
            needs_person=True,
            what=f"the last window drifted against {', '.join(alarms)} (cause: {window.cause or 'not said'})",
            way_out="xpm-stream checkpoints rollback | revoke"
            if window.cause == "teacher"
            else "see the drift statistics: xpm-stream report",
        )
    if window.labels_missed:
        yield Concern(
            needs_person=False,
            what=f"the drift monitor missed {window.labels_missed:,} of "
            f"{window.labels_missed + window.labels_seen:,} labels: they were trained before it saw them",
        )
    age_s = standing.looked_at_s - window.ended_at_s
    if standing.phase == "running" and age_s > 3600:
        yield Concern(needs_person=False, what=f"the last drift window closed {age_text(age_s)} ago")


def _ended(queue: QueueStanding) -> int:
    return queue.labels_committed + sum(queue.skipped_by_reason.values()) + sum(queue.dead_by_reason.values())


def _reasons(queue: QueueStanding) -> str:
    by_count = sorted(queue.dead_by_reason.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in by_count) or "no reason counted"
