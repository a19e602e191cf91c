"""Named places at which a fault test may kill or freeze the process. Nothing happens there unless a test asks for it.

`XPM_STREAM_CRASH_AT=name` kills the process with SIGKILL the first time it gets there, `name:3` the third time;
`name:3:stop` freezes it there with SIGSTOP, once, so that a test can do something to the world and let it go on.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import Final

CRASH_POINTS: Final = frozenset(
    {
        "labeler.after_lease",
        "labeler.after_label",
        "labeler.after_commit",
        "labeler.after_relabel_lease",
        "labeler.after_relabel_label",
        "labeler.after_relabel_commit",
        "trainer.after_epoch",
        "trainer.after_settle",
        "trainer.after_read",
        "trainer.after_step",
        "trainer.before_give_back",
        "trainer.after_give_back",
        "trainer.before_checkpoint",
        "trainer.after_checkpoint_before_ack",
        "trainer.after_ack",
        "trainer.after_candidate_before_proposal",
        "trainer.after_proposal",
        "promoter.before_log",
        "promoter.after_log",
        # Writing a checkpoint, in whatever process: the first file is there; all are, but nobody sees them yet.
        "checkpoint.after_first_file",
        "checkpoint.before_publish",
    }
)
_VARIABLE: Final = "XPM_STREAM_CRASH_AT"
_reached: Counter[str] = Counter()
_lock = threading.Lock()


def reach(name: str) -> None:
    """Die or freeze here if a fault test asked for it."""
    assert name in CRASH_POINTS, name
    wanted = os.environ.get(_VARIABLE)
    if wanted is None:
        return
    place, times, action = (*wanted.split(":"), "", "")[:3]
    if place != name:
        return
    with _lock:
        _reached[name] += 1
        reached, due = _reached[name], int(times or 1)
    if action == "stop":
        if reached == due:
            os.kill(os.getpid(), signal.SIGSTOP)
    elif reached >= due:
        os.kill(os.getpid(), signal.SIGKILL)
