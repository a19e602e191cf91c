"""Patterns that the labelers look at again and again for new shards."""

from __future__ import annotations

import time

from xpm_stream.label_queue.role import QueueRole


class WatchedPatterns(QueueRole):
    """`shards watch`: kept in Redis, so that every labeler of the run sees them, wherever and whenever it runs."""

    def watch(self, pattern: str) -> bool:
        """Has the labelers look at a pattern from now on; False when they do already."""
        new = self.edge.command(
            "hsetnx", self.keys.watched, pattern, round(time.time() * 1000), doing="watching a pattern"
        )
        return bool(new)

    def unwatch(self, pattern: str) -> bool:
        """Ends the watching of a pattern; False when it was not watched. Shards already added stay."""
        return bool(self.edge.command("hdel", self.keys.watched, pattern, doing="ending a watch"))

    def watched(self) -> dict[str, float]:
        """Each watched pattern with the Unix time since when; the oldest first."""
        found = self.edge.command("hgetall", self.keys.watched, doing="listing watched patterns")
        since = {bytes(pattern).decode("utf-8"): int(ms) / 1000 for pattern, ms in found.items()}
        return dict(sorted(since.items(), key=lambda item: (item[1], item[0])))
