"""What a trainer's checkpoint holds beside the weights: `training.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from xpm_stream.errors import CheckpointError
from xpm_stream.label_queue import TrainedLedger
from xpm_stream.records import LabelMessage

TRAINING: Final = "training.json"


class TeacherTally(msgspec.Struct):
    """What was trained of one teacher's labels."""

    samples: int = 0
    instances: int = 0
    instances_with_reliability: int = 0
    reliability_sum: float = 0.0

    @classmethod
    def of(cls, message: LabelMessage) -> TeacherTally:
        """Return the tally of one label."""
        findings = message.findings()
        reliabilities = [finding.reliability for finding in findings if finding.reliability is not None]
        return cls(1, len(findings), len(reliabilities), sum(reliabilities))

    def add(self, other: TeacherTally) -> None:
        """Add another tally."""
        self.samples += other.samples
        self.instances += other.instances
        self.instances_with_reliability += other.instances_with_reliability
        self.reliability_sum += other.reliability_sum


class TrainingState(msgspec.Struct, kw_only=True):
    """The trainer's place in its work, JSON-able."""

    step: int = 0
    epoch: int = 0
    samples_trained: int = 0
    samples_relabelled: int = 0
    samples_replayed: int = 0  # beside samples_trained: how often trained samples came back
    feed: dict[str, Any] = {}  # place in the base set
    by_teacher: dict[str, TeacherTally] = {}  # promotion number -> tally
    ledger: dict[str, Any] = {}  # TrainedLedger.to_dict()

    def count(self, promotion: int, tally: TeacherTally) -> None:
        """Count trained labels of a teacher."""
        self.samples_trained += tally.samples
        self.by_teacher.setdefault(str(promotion), TeacherTally()).add(tally)

    def encode(self, ledger: Mapping[str, Any]) -> bytes:
        """Return it as JSON, with the trained ledger of this moment."""
        return msgspec.json.encode(msgspec.structs.replace(self, ledger=dict(ledger)))


def decode_training_state(files: Mapping[str, bytes], *, name: str) -> tuple[TrainingState, TrainedLedger]:
    """Read `training.json` of the checkpoint called `name`.

    Raises:
        CheckpointError: it is missing or cannot be used.
    """
    try:
        state = msgspec.json.decode(files[TRAINING], type=TrainingState)
        return state, TrainedLedger.from_dict(state.ledger)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"checkpoint {name}: {TRAINING} cannot be used: {error}") from error
