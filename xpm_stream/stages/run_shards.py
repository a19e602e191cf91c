"""All shards of a run, as they are now: those its configuration names, and those that came later. No torch."""

from __future__ import annotations

from collections import defaultdict

from xpm_stream.config import RunConfig
from xpm_stream.data.shard_urls import ShardFile, expand_shard_urls, look_at_shard
from xpm_stream.errors import QueueError, ShardError
from xpm_stream.label_queue import ShardRow
from xpm_stream.records import ShardId
from xpm_stream.stages.exported_labels import ExportTally
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.shard_ledger import look_at_ledger


def shards_of_run(config: RunConfig, tally: ExportTally) -> list[ShardFile]:
    """Return the shards of `data.shards`, then those that only the ledger knows, each once however many passes it had.

    The ledger is in Redis. Where that cannot be asked, `tally` notes that only `data.shards` was taken. It notes also
    shards that were rewritten since the run took them in, and as problems those of the ledger that are gone.

    Raises:
        ShardError: a pattern of `data.shards` names no shard.
    """
    named = {shard.url: shard for shard in expand_shard_urls(config.data.shards)}
    identities: dict[str, set[ShardId]] = defaultdict(set)
    for row in _ledger(config, tally):
        identities[row.url].add(row.shard_id)
    for url in identities:
        if url not in named:
            try:
                named[url] = look_at_shard(url)
            except ShardError as error:
                tally.note_problem(str(error))
    changed = [url for url, ids in identities.items() if url in named and not any(map(named[url].is_shard, ids))]
    if changed:
        tally.notes.append(
            f"rewritten since the run took them in, labelled as they are now: {len(changed):,} (first: {changed[0]})"
        )
    return list(named.values())


def _ledger(config: RunConfig, tally: ExportTally) -> list[ShardRow]:
    only = "only the shards of data.shards are labelled, none that was added or watched later (--shards names them)"
    if config.redis.url == "embedded" and not (RunFolder.of(config).root / "redis").is_dir():
        tally.notes.append(f"the run's folder has no Redis data: {only}")
        return []
    try:
        return look_at_ledger(config).rows
    except (QueueError, OSError) as error:
        tally.notes.append(f"the run's Redis cannot be asked: {only}: {error}")
        return []
