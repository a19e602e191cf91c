"""Each sample is trained once, however often and from however many threads its label arrives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from xpm_stream.label_queue import TrainedLedger
from xpm_stream.records import SampleId, ShardId
from xpm_stream.stages.sample_claims import SampleClaims


def _sample(ordinal: int) -> SampleId:
    return SampleId(0, ShardId("s"), ordinal)


def test_a_sample_can_be_claimed_once() -> None:
    claims = SampleClaims(TrainedLedger())
    assert claims.claim(_sample(1))
    assert not claims.claim(_sample(1))
    assert claims.claim(_sample(2))


def test_a_trained_sample_cannot_be_claimed() -> None:
    trained = TrainedLedger()
    trained.add(_sample(1))
    assert not SampleClaims(trained).claim(_sample(1))


def test_a_released_sample_can_be_claimed_again_and_is_not_trained() -> None:
    trained = TrainedLedger()
    claims = SampleClaims(trained)
    claims.claim(_sample(1))
    claims.release([_sample(1)])
    assert _sample(1) not in trained
    assert claims.claim(_sample(1))


def test_booked_samples_are_in_the_ledger_and_stay_claimed() -> None:
    claims = SampleClaims(TrainedLedger())
    assert [claims.claim(_sample(n)) for n in (3, 1)] == [True, True]
    claims.book_trained([_sample(3)])
    written = TrainedLedger.from_dict(claims.trained().to_dict())
    assert _sample(3) in written
    assert _sample(1) not in written
    assert not claims.claim(_sample(3))


def test_what_nobody_claimed_cannot_be_booked() -> None:
    with pytest.raises(KeyError):
        SampleClaims(TrainedLedger()).book_trained([_sample(1)])


def test_of_many_threads_one_gets_the_sample() -> None:
    claims = SampleClaims(TrainedLedger())
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: claims.claim(_sample(n % 100)), range(3200)))
    assert sum(won) == 100
