"""Functions run as the ranks of a real process group, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xpm_stream.errors import XpmStreamError
from xpm_stream.learning.reservoir import Reservoir
from xpm_stream.learning.reservoir_state import ReplaySample, ReservoirLimits
from xpm_stream.records import ImageReference, SampleId, ShardId
from xpm_stream.stages.ranks import Ranks, joined_ranks
from xpm_stream.stages.replay_file import REPLAY, gather_reservoirs, restore_reservoir

PATIENCE_S = 120.0


def run_ranks(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run `work(ranks, *arguments)` as each of `size` ranks; return what each returned, or its error's text."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "xpm_stream.stages.ranks"])  # so that ranks start at once
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers = context.SimpleQueue()
    processes = [
        context.Process(target=_rank, args=(number, size, port, answers, work, arguments)) for number in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    for process in processes:
        if process.is_alive():
            process.kill()
            raise AssertionError("a rank hangs")
    found = {}
    while not answers.empty():
        number, answer = answers.get()
        found[number] = answer
    return [found.get(number, "died") for number in range(size)]


def _rank(number: int, size: int, port: int, answers: Any, work: Callable[..., Any], arguments: Any) -> None:
    os.environ.update(
        RANK=str(number),
        LOCAL_RANK=str(number),
        WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    try:
        with joined_ranks(torch.device("cpu"), timeout_s=30.0) as ranks:
            answers.put((number, work(ranks, *arguments)))
    except XpmStreamError as error:
        answers.put((number, str(error)))


def average(ranks: Ranks) -> list[list[float] | None]:
    """Rank r has gradient r + 1 for `both`, rank 1 alone one for `one`, nobody one for `none`."""
    both, one, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    both.grad = torch.full((2,), float(ranks.number + 1))
    if ranks.number == 1:
        one.grad = torch.full((2,), 6.0)
    ranks.average_gradients([both, one, none])
    return [None if p.grad is None else p.grad.tolist() for p in (both, one, none)]


def share(ranks: Ranks) -> Any:
    """Values of unlike lengths, and rank 0's word."""
    return ranks.share("x" * ranks.number), ranks.from_first(lambda: f"rank {ranks.number}", kind=str)


def drift(ranks: Ranks, by: float) -> str:
    """Weights that differ on the last rank."""
    weights = torch.nn.Parameter(torch.ones(4) + by * (ranks.number == ranks.size - 1))
    ranks.require_equal([weights])
    return "equal"


def lose_a_rank(ranks: Ranks) -> str:
    """Rank 1 dies without a word; the others are in a collective."""
    if ranks.number == 1:
        os._exit(9)
    ranks.share(ranks.number)
    return "went on"


def hand_over_reservoirs(ranks: Ranks, path: str, add: int) -> list[int]:
    """Go on from the file at `path`, if it is there; add samples of this rank's own; write it; say what is held."""
    limits = ReservoirLimits(per_word=50, capacity=50, inline_bytes=0)
    files = {REPLAY: Path(path).read_bytes()} if Path(path).exists() else {}
    ranks.share(0)  # nobody writes before all have read
    reservoir = restore_reservoir(files, name="c", limits=limits, seed=[ranks.number], ranks=ranks)
    reservoir = reservoir or Reservoir(limits, seed=[ranks.number])
    for number in range(ranks.number, add * ranks.size, ranks.size):
        image = ImageReference("file:///s", number, 1)
        reservoir.add(ReplaySample(sample=SampleId(0, ShardId("s"), number), words=["dog"], image=image))
    gathered = gather_reservoirs(reservoir.state(), ranks=ranks)
    if ranks.first:
        Path(path).write_bytes(gathered[REPLAY])
    return [kept.sample.ordinal for kept in reservoir.state().samples]
