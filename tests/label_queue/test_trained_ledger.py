import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.label_queue import TrainedLedger
from xpm_stream.records import SampleId, ShardId

samples = st.builds(SampleId, st.integers(0, 2), st.sampled_from([ShardId("a"), ShardId("b")]), st.integers(0, 40))


def ledger_of(found):
    ledger = TrainedLedger()
    for sample in found:
        ledger.add(sample)
    return ledger


@given(st.lists(samples))
def test_a_sample_is_new_once(found):
    ledger, seen = TrainedLedger(), set()
    for sample in found:
        assert (sample in ledger) == (sample in seen)
        assert ledger.add(sample) == (sample not in seen)
        seen.add(sample)
    assert len(ledger) == len(seen)


@given(st.lists(samples))
def test_a_ledger_survives_json(found):
    ledger = ledger_of(found)
    twin = TrainedLedger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert twin == ledger
    assert twin.digest() == ledger.digest()


@given(st.sets(samples), st.sets(samples))
def test_ranks_merge_and_a_sample_of_two_ranks_is_an_error(left, right):
    ledger = ledger_of(left)
    if left & right:
        with pytest.raises(ValueError, match="two ranks"):
            ledger.merge(ledger_of(right))
    else:
        ledger.merge(ledger_of(right))
        assert ledger == ledger_of(left | right)


def test_a_copy_is_what_a_checkpoint_freezes():
    ledger = ledger_of([SampleId(0, ShardId("a"), 1)])
    frozen = ledger.copy()
    ledger.add(SampleId(0, ShardId("a"), 2))
    assert len(frozen) == 1


def test_passes_are_accounted_on_their_own():
    ledger = ledger_of([SampleId(0, ShardId("a"), 1)])
    assert SampleId(1, ShardId("a"), 1) not in ledger


def test_a_hundred_thousand_samples_trained_in_order_fit_in_a_hundred_bytes():
    ledger = TrainedLedger()
    for ordinal in range(100_000):
        ledger.add(SampleId(0, ShardId("0123456789abcdef"), ordinal))
    assert len(json.dumps(ledger.to_dict())) < 100


@pytest.mark.parametrize("document", [{}, {"format": 2, "passes": {}}, {"format": 1, "passes": []}])
def test_what_is_not_a_ledger_is_refused(document):
    with pytest.raises(ValueError, match="trained ledger"):
        TrainedLedger.from_dict(document)
