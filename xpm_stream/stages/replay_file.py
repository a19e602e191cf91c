"""The ranks' reservoirs as one file of a resume checkpoint, and back, whatever the number of ranks is by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from xpm_stream.errors import CheckpointError
from xpm_stream.learning.reservoir import Reservoir
from xpm_stream.learning.reservoir_state import ReservoirLimits, ReservoirState, deal
from xpm_stream.stages.ranks import Ranks

REPLAY: Final = "replay.msgpack"  # a list of reservoir states, by rank


def gather_reservoirs(mine: ReservoirState, *, ranks: Ranks) -> dict[str, bytes]:
    """Return the file that holds all ranks' reservoirs; all ranks call it at the same place.

    Raises:
        TrainingError: a rank is gone.
    """
    shared = ranks.share(msgspec.msgpack.encode(mine))
    return {REPLAY: msgspec.msgpack.encode([msgspec.Raw(state) for state in shared])}


def restore_reservoir(
    files: Mapping[str, bytes], *, name: str, limits: ReservoirLimits, seed: Sequence[int], ranks: Ranks
) -> Reservoir | None:
    """Return this rank's reservoir from checkpoint `name`; none if the checkpoint was written without one.

    Raises:
        CheckpointError: the file cannot be used.
    """
    if REPLAY not in files:
        return None
    states = read_reservoirs(files, name=name)
    return Reservoir.from_state(deal(states, ranks=ranks.size)[ranks.number], limits=limits, seed=seed)


def read_reservoirs(files: Mapping[str, bytes], *, name: str) -> list[ReservoirState]:
    """Return what the reservoirs of all ranks held at checkpoint `name`, by rank.

    Raises:
        CheckpointError: the file is missing or cannot be used.
    """
    try:
        states = msgspec.msgpack.decode(files[REPLAY], type=list[ReservoirState])
    except (KeyError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"checkpoint {name}: {REPLAY} cannot be used: {error}") from error
    if not states or any(not _is_whole(state) for state in states):
        raise CheckpointError(f"checkpoint {name}: {REPLAY} cannot be used: it does not hold whole reservoirs")
    return states


def _is_whole(state: ReservoirState) -> bool:
    places = {place for word in state.words.values() for place in word.places}
    return places == set(range(len(state.samples)))
