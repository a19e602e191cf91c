"""The figures of the scale benchmark as Markdown, for the terminal and for `docs/scale.md` alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.markdown import table
from benchmarks.scale.drain import Drain
from benchmarks.scale.end_to_end import EndToEnd
from benchmarks.scale.ledger import LargeLedger
from benchmarks.scale.redis_alone import RedisAlone
from benchmarks.scale.server import ScriptTime

_MEGABYTE: Final = 1e6


def end_to_end_table(runs: Sequence[EndToEnd]) -> str:
    """One column for each run."""
    rows = [
        ("samples", [f"{run.samples:,}" for run in runs]),
        ("labels of a commit", [str(run.batch_images) for run in runs]),
        ("budget, labels (`queue.max_unacked_labels`)", [f"{run.budget:,}" for run in runs]),
        ("**labels/s end to end**, first commit to last checkpoint", [f"**{run.whole_per_s:,.0f}**" for run in runs]),
        ("labels/s committed, steady part", [f"{run.committed_per_s:,.0f}" for run in runs]),
        ("labels/s trained and in a checkpoint, steady part", [f"{run.trained_per_s:,.0f}" for run in runs]),
        ("commit latency p50, ms", [f"{run.commit_p50_ms:.2f}" for run in runs]),
        ("commit latency p99, ms", [f"{run.commit_p99_ms:.1f}" for run in runs]),
        ("commit latency, longest, ms", [f"{run.commit_max_ms:.0f}" for run in runs]),
        ("commits timed", [f"{run.commits:,}" for run in runs]),
        ("cores busy with labelers", [f"{run.labelers_cores:.2f}" for run in runs]),
        ("cores busy with the trainer (one process)", [f"{run.trainer_cores:.2f}" for run in runs]),
        ("cores busy in redis-server's command thread (at most 1)", [f"{run.redis_core:.2f}" for run in runs]),
        ("share of the looks with the budget spent", [f"{run.budget_full:.0%}" for run in runs]),
        ("machine idle", [f"{run.machine_idle:.0%} of {run.cores} cores" for run in runs]),
        ("**first to saturate**", [f"**{first_to_saturate(run)}**" for run in runs]),
        ("most labels unacknowledged", [f"{run.peak_unacked:,}" for run in runs]),
        ("most memory of Redis, MB", [f"{run.peak_used_bytes / _MEGABYTE:.1f}" for run in runs]),
        ("bytes sent to Redis a label", [f"{run.bytes_in_per_label:,.0f}" for run in runs]),
        ("seconds until all had started", [f"{run.start_s:.1f}" for run in runs]),
    ]
    return table(["", *(f"{run.labelers} labelers" for run in runs)], [[name, *cells] for name, cells in rows])


def first_to_saturate(run: EndToEnd) -> str:
    """What is nearest to its limit: the machine's cores, the trainer's process, or Redis' command thread."""
    used = {
        f"the machine's {run.cores} cores": 1 - run.machine_idle,
        "the trainer's process": run.trainer_cores,
        "redis-server": run.redis_core,
    }
    return max(used, key=lambda name: used[name])


def redis_table(runs: Sequence[RedisAlone]) -> str:
    """One line for each batch size and policy."""
    head = ["labels of a commit", "`appendfsync`", "**labels/s**", "commits/s", "cores of redis-server"]
    head += ["answer p50, ms", "p99, ms", "alone p50, ms", "p99, ms", "memory, B/label", "file, B/label"]
    rows = [
        [
            str(run.batch), run.fsync, f"**{run.labels_per_s:,.0f}**", f"{run.commits_per_s:,.0f}",
            f"{run.redis_core:.2f}", f"{run.answer_p50_ms:.1f}", f"{run.answer_p99_ms:.1f}",
            f"{run.one_commit_p50_ms:.2f}", f"{run.one_commit_p99_ms:.2f}",
            f"{run.used_bytes_per_label:,.0f}", f"{run.file_bytes_per_label:,.0f}",
        ]
        for run in runs
    ]  # fmt: skip
    return table(head, rows)


def script_table(runs: Sequence[tuple[str, Sequence[ScriptTime]]], *, names: Sequence[str]) -> str:
    """Microseconds inside Redis of the scripts named, one line for each run and script."""
    head = ["run", "script", "calls", "mean, µs", "p50, µs", "p99, µs"]
    rows = [
        [run, f"`{one.name}`", f"{one.calls:,}", f"{one.mean_us:,.0f}", f"{one.p50_us:,.0f}", f"{one.p99_us:,.0f}"]
        for run, scripts in runs
        for one in scripts
        if one.name in names
    ]
    return table(head, rows)


def drain_table(found: Drain) -> str:
    """One line for each way."""
    step = f"{found.batch_captions} a step"
    rows = [
        (f"labeler, {found.batch_images} a commit: read tar, find nouns, decode, label, commit", found.labeler_per_s,
         found.labeler_us),
        (f"`LabelQueue.read`, {found.batch_captions} a read: no image", found.read_per_s, found.read_us),
        (f"`LabelFeed`, {step}: read, claim, fetch, decode, collate", found.feed_per_s, found.feed_us),
        (f"trainer, {step}: the same, trained, in checkpoints, acknowledged", found.trainer_per_s, found.trainer_us),
    ]  # fmt: skip
    shown = [[name, f"{rate:,.0f}", f"{cost:,.0f}"] for name, rate, cost in rows]
    return table(["one process alone", "labels/s", "CPU of the process, µs/label"], shown)


def ledger_table(found: LargeLedger) -> str:
    """One line for each operation, then the bytes."""
    rows = [
        [
            one.name, str(one.times), f"{one.median_ms:,.2f}", f"{one.worst_ms:,.2f}", str(one.round_trips),
            f"{one.script_us:,.0f}" if one.script_us else "", f"{one.longest_script_us:,.0f}" if one.script_us else "",
        ]
        for one in found.operations
    ]  # fmt: skip
    head = ["operation", "times", "median, ms", "worst, ms", "round trips", "mean of its scripts, µs", "p99, µs"]
    size = (
        f"{found.shards:,} shards in the ledger, {found.leased:,} leased, {found.labels:,} labels queued: "
        f"{found.used_bytes / _MEGABYTE:.1f} MB. A pending shard takes {found.bytes_per_shard:,.0f} bytes; "
        f"a finished one with all its labels acknowledged keeps {found.bytes_per_finished_shard:,.0f}."
    )
    return f"{table(head, rows)}\n\n{size}"
