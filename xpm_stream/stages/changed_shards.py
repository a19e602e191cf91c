"""Shards that are not any more what they were when they were added: to read them would mix two shards up."""

from __future__ import annotations

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.shard_urls import ShardFile, expand_shard_urls, look_at_shard
from xpm_stream.errors import ShardError
from xpm_stream.label_queue import LabelQueue, ShardRecord
from xpm_stream.stages.shard_registration import add_new, record_of


def check_unchanged(shard: ShardRecord, *, config: DataConfig, queue: LabelQueue) -> None:
    """Look at a shard before it is read. Rewritten, it is a new shard, and added if the configuration names it.

    Raises:
        ShardError: it was rewritten, or is gone.
        ShardUnavailable: its store does not answer now.
    """
    now = look_at_shard(shard.url)
    if now.is_shard(shard.shard_id):
        return
    raise ShardError(f"{shard.url} was rewritten after it was added: {_add(now, shard, config=config, queue=queue)}")


def _add(now: ShardFile, old: ShardRecord, *, config: DataConfig, queue: LabelQueue) -> str:
    """Add what took a shard's place, in the same pass, if a person named it; say what becomes of it."""
    if config.watch:
        return "it is a new shard, which is taken up when it is complete"
    if now.url in {file.url for file in expand_shard_urls(config.shards, may_be_missing=True)}:
        add_new(queue, [record_of(now, pass_index=old.pass_index)], [now])
        return "it is a new shard, which has been added in its place"
    return "it is a new shard, for `xpm-stream shards add` (a watched pattern takes it up by itself)"
