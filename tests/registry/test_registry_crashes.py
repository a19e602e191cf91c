"""A process killed before each of its file operations in turn: the registry is whole after every one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A child is forked for each file operation and killed when it is about to do it; Python reports them to audit hooks.
DRIVER = """
import itertools, os, signal, sys
from pathlib import Path
from xpm_stream.registry import CheckpointCache, CheckpointStore, PromotionLog

FILES = {"model.safetensors": b"weights" * 1000, "state.json": b"{}"}
OPERATIONS = {"open", "fcntl.flock", "os.link", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime"}
root, scenario = Path(sys.argv[1]), sys.argv[2]
store, log = CheckpointStore(root / "checkpoints"), PromotionLog(root)
if scenario != "first write":
    store.write("old", FILES, order=(1,))
    log.append("promote", checkpoint="old", by="test")

def act():
    if "write" in scenario:
        CheckpointStore(root / "checkpoints").write("new", FILES, order=(2,))
    elif scenario == "delete":
        CheckpointStore(root / "checkpoints").delete("old")
    elif scenario == "bring":
        CheckpointCache(root / "cache").bring(store.folder("old"))
    elif scenario == "append":
        PromotionLog(root).append("promote", checkpoint="new", by="killed")

def run_until(operation):
    pid = os.fork()
    if pid:
        status = os.waitpid(pid, 0)[1]
        assert status in (0, signal.SIGKILL), status
        return status == signal.SIGKILL
    left = operation
    def hook(event, arguments):
        nonlocal left
        if event in OPERATIONS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    act()
    os._exit(0)

for operation in itertools.count(1):
    killed = run_until(operation)
    seen = {info.name for info in store.list()}
    for name in seen:
        assert store.read(name) == FILES, (operation, name)
    number = len(PromotionLog(root).entries())
    print(operation, int(killed), number, *sorted(seen))
    if not killed:
        break
    if "write" in scenario and "new" in seen:
        store.delete("new")
    if scenario == "delete" and "old" not in seen:
        store.write("old", FILES, order=(1,))
    if scenario == "bring":
        folder = CheckpointCache(root / "cache").bring(store.folder("old"))
        assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json"}
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    if scenario == "append" and number > 1:
        (root / "promotions" / "00000002.json").unlink()
"""


@pytest.mark.parametrize(
    ("scenario", "before", "after"),
    [
        ("first write", "0", "0 new"),
        ("write", "1 old", "1 new old"),
        ("delete", "1 old", "1"),
        ("bring", "1 old", "1 old"),
        ("append", "1 old", "2 old"),
    ],
)
def test_killed_before_any_file_operation_the_registry_is_as_before_or_as_after(
    tmp_path: Path, scenario: str, before: str, after: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), scenario], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    outcomes = [line.split(" ", 2) for line in run.stdout.splitlines()]
    assert [killed for _, killed, _ in outcomes[:-1]] == ["1"] * (len(outcomes) - 1)
    assert {state for _, _, state in outcomes} == {before, after}
    assert outcomes[-1][1:] == ["0", after]
    assert len(outcomes) > 5, "the hook saw no file operations: the test proves nothing"
