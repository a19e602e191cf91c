from __future__ import annotations

import json
import zlib

import msgspec
import numpy as np
import pytest

from xpm_stream.errors import DataError
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import build_reference, decode_reference, encode_reference


def labels(number=300, *, reliable=True):
    rng = np.random.default_rng(1)
    return [
        LabelMeasures(
            scores=rng.random(2).tolist(),
            reliabilities=rng.random(2).tolist() if reliable else [],
            box_area_shares=rng.random(2).tolist(),
            nouns_per_caption=[int(rng.integers(4))],
            words=rng.choice(["cat", "dog", "cow"], 2).tolist(),
        )
        for _ in range(number)
    ]


def quantities(reference):
    return [bins.quantity for bins in reference.layout.bins]


def test_a_reference_holds_every_quantity_with_the_counts_of_its_labels():
    reference = build_reference(labels(), name="frozen", teacher="v3", top_words=2)
    assert quantities(reference) == [
        "reliability",
        "low_reliability",
        "score",
        "box_area_share",
        "nouns_per_caption",
        "caption_without_nouns",
        "empty_label",
        "word",
    ]
    totals = [int(reference.counts[reference.layout.columns(name)].sum()) for name in quantities(reference)]
    assert totals == [600, 600, 600, 600, 300, 300, 300, 600]
    assert reference.left_out == {}
    assert reference.num_labels == 300
    low = reference.counts[reference.layout.columns("low_reliability")]
    assert low[1] / low.sum() == pytest.approx(0.1, abs=0.005)


def test_what_the_teacher_does_not_give_is_left_out_and_said_to_be():
    reference = build_reference(labels(reliable=False), name="frozen", teacher="v3")
    assert reference.left_out == {"reliability": 0}
    assert not {"reliability", "low_reliability"} & set(quantities(reference))


def test_too_few_labels_are_an_error():
    with pytest.raises(DataError, match="at least 100 labels, these are 99"):
        build_reference(labels(99), name="frozen", teacher="v3")


def test_a_reference_comes_back_from_json_as_it_was():
    reference = build_reference(labels(), name="frozen", teacher="v3")
    again = decode_reference(encode_reference(reference))
    assert (again.name, again.teacher, again.bins_id) == ("frozen", "v3", reference.bins_id)
    assert again.layout.bins == reference.layout.bins
    assert np.array_equal(again.label_counts, reference.label_counts)
    assert encode_reference(again) == encode_reference(reference)


def changed(**values):
    state = json.loads(encode_reference(build_reference(labels(), name="frozen", teacher="v3")))
    return json.dumps({**state, **values}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "no drift reference"),
        (b"{", "no drift reference"),
        (changed(schema_version=99), "schema 99"),
        (changed(schema_version=99, bins=[{"type": "of another release"}]), "schema 99"),
        (changed(num_labels=301), "not the .* bytes"),
        (changed(num_labels=10**12), "says it has"),
        (changed(label_counts="AAAA"), "damaged"),
        (changed(bins=[{"type": "quantile", "quantity": "score", "edges": [2, 1], "representatives": [1, 2, 3],
                        "scale": 1}]), "do not ascend"),
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_used_is_an_error_that_says_why(data, message):
    with pytest.raises(DataError, match=message):
        decode_reference(data)


def test_counts_that_unpack_to_more_than_the_bins_need_are_refused():
    state = json.loads(encode_reference(build_reference(labels(), name="frozen", teacher="v3")))
    bomb = msgspec.json.encode(zlib.compress(bytes(50_000_000))).decode().strip('"')
    with pytest.raises(DataError, match="not the"):
        decode_reference(json.dumps({**state, "label_counts": bomb}).encode())
