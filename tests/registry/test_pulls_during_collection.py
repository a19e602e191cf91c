"""Readers and a collector in processes of their own: a pull that has begun never fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from redis_servers import until

READERS = 4
FILES = ("model.safetensors", "config.json", "vocabulary.json", "README.md")

# Reads checkpoints at random, old ones too, which are being removed all the time.
READER = f"""
import random, sys, time
from pathlib import Path
from xpm_stream.errors import CheckpointError
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.holds import Holds
root = Path(sys.argv[1])
store, holds = CheckpointStore(root / "checkpoints"), Holds(root)
draw = random.Random(int(sys.argv[2]))
while not (root / "end").exists():
    # The oldest are the next to be removed.
    name = draw.choice(sorted(path.name for path in (root / "checkpoints").glob("c*"))[:4])
    try:
        with holds.lease(name, ttl_s=30):
            try:
                store.info(name)
            except CheckpointError:
                print("gone", flush=True)  # before the pull began
                continue
            pulled = {{}}
            for file in {FILES!r}:
                pulled |= store.read(name, only=[file])
                time.sleep(0.005)  # a slow network
            assert pulled == {{file: (name + file).encode() * 50 for file in {FILES!r}}}
    except CheckpointError as error:
        if "is being removed" not in str(error):
            raise
        print("refused", flush=True)
        continue
    print("pulled", flush=True)
"""

COLLECTOR = """
import sys
from pathlib import Path
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.collector import Collector
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.retention import RetentionPolicy
root = Path(sys.argv[1])
collector = Collector(
    checkpoints=CheckpointStore(root / "checkpoints"), promotions=PromotionLog(root), holds=Holds(root),
    policy=RetentionPolicy(keep_promotions=2, keep_candidates=0, keep_unnamed_s=3600),
    remove_after_s=float(sys.argv[2]),
)
while not (root / "end").exists():
    for name in collector.collect().removed:
        print(name, flush=True)
"""


def test_a_pull_that_has_begun_never_fails_while_checkpoints_are_removed(tmp_path: Path) -> None:
    from xpm_stream.registry.checkpoints import CheckpointStore
    from xpm_stream.registry.promotion_log import PromotionLog

    root = tmp_path / "registry"
    store, log = CheckpointStore(root / "checkpoints"), PromotionLog(root)

    def promote(number: int) -> None:
        name = f"c{number:05d}"
        store.write(name, {file: (name + file).encode() * 50 for file in FILES}, order=(number,))
        log.append("promote", checkpoint=name, epoch=1, step=number, by="test")

    for number in range(8):
        promote(number)
    programs = [(READER, str(seed)) for seed in range(READERS)] + [(COLLECTOR, "0.02"), (COLLECTOR, "0")]
    outputs = [tmp_path / f"{number}.txt" for number in range(len(programs))]
    processes = []
    for (program, argument), output in zip(programs, outputs, strict=True):
        with output.open("wb") as sink:
            arguments = [sys.executable, "-c", program, str(root), argument]
            processes.append(subprocess.Popen(arguments, stdout=sink, stderr=subprocess.STDOUT))

    def lines(of: slice) -> list[str]:
        return [line for output in outputs[of] for line in output.read_text().splitlines()]

    number = 8

    def enough() -> bool:
        nonlocal number
        promote(number)
        number += 1
        assert all(process.poll() is None for process in processes), "\n".join(lines(slice(None))[-40:])
        readers, removed = lines(slice(READERS)), lines(slice(READERS, None))
        return readers.count("pulled") >= 60 and len(removed) >= 40 and readers.count("refused") >= 3

    try:
        until(enough, what="pulls beside removals", within_s=120)
        (root / "end").touch()
        assert [process.wait(60) for process in processes] == [0] * len(processes), lines(slice(None))[-40:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert log.champion() is not None
    assert not list((root / "leases").iterdir()), "a lease is left"
