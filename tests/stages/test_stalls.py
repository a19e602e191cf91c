"""Real roles that hang say where, and end, so that they are started again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_roles import hostile_run

from xpm_stream.stages.watchdog import EXIT_STALLED


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "place"), [("train", "step"), ("train", "decode"), ("label", "decode")])
def test_a_role_that_hangs_on_a_sample_ends_with_its_place(tmp_path: Path, kind: str, place: str) -> None:
    with hostile_run(tmp_path, trainer={"stall_timeout_s": 8.0}) as run:
        if kind == "train":
            assert run.label() == 0
        assert run.live(kind, hostile=f"hang:{place}:13") == EXIT_STALLED
        (stalled,) = run.logged("stalled")
        assert stalled["silent_s"] >= 8.0
