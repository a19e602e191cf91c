"""Named places at which a fault test may kill the process. Nothing happens there unless a test asks for it.

`XPM_STREAM_CRASH_AT=name` kills the process with SIGKILL the first time it gets there, `name:3` the third time.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

CRASH_POINTS: Final = frozenset(
    {
        "labeler.after_lease",
        "labeler.after_label",
        "labeler.after_commit",
        "trainer.after_step",
        "trainer.before_checkpoint",
        "trainer.after_checkpoint_before_ack",
        "trainer.after_ack",
        "trainer.after_candidate_before_proposal",
        "trainer.after_proposal",
        "promoter.before_log",
        "promoter.after_log",
    }
)
_VARIABLE: Final = "XPM_STREAM_CRASH_AT"
_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Die here if a fault test asked for it."""
    assert name in CRASH_POINTS, name
    wanted = os.environ.get(_VARIABLE)
    if wanted is None:
        return
    place, _, times = wanted.partition(":")
    if place == name:
        _reached[name] += 1
        if _reached[name] >= int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
