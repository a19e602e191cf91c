import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_examples import instance, label

from xpm_stream.errors import MessageError, SchemaTooNew
from xpm_stream.label_queue import decode, encode
from xpm_stream.label_queue.codec import MAX_MESSAGE_BYTES
from xpm_stream.records import (
    ImageInline,
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    RegionProposal,
    SampleId,
    ShardId,
    TeacherVersion,
)

SAMPLE = SampleId(0, ShardId("0123456789abcdef"), 12345)
big = st.integers(0, 2**53)
unit = st.floats(0, 1, width=32)
pixels = st.floats(-1e4, 1e4, width=32)


@st.composite
def boxes(draw):
    xs, ys = sorted([draw(pixels), draw(pixels)]), sorted([draw(pixels), draw(pixels)])
    return (xs[0], ys[0], xs[1], ys[1])


instances = st.builds(
    PseudoInstance,
    word=st.text(max_size=20),
    box_xyxy=boxes(),
    mask_bits=st.binary(min_size=98, max_size=98),
    score=unit,
    reliability=st.none() | unit,
)
proposals = st.builds(RegionProposal, box_xyxy=boxes(), background_score=unit)
images = st.builds(
    ImageReference, st.text(), big, st.integers(1, 2**40), st.none() | st.integers(0, 2**32 - 1)
) | st.builds(ImageInline, st.binary(min_size=1, max_size=300))
messages = st.builds(
    LabelMessage,
    method=st.text(max_size=10),
    sample=st.builds(SampleId, st.integers(0, 100), st.text("0123456789abcdef", min_size=1).map(ShardId), big),
    teacher=st.builds(TeacherVersion, big, big, big),
    image=images,
    image_size_wh=st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)),
    words=st.lists(st.text(max_size=20), max_size=5),
    annotation=st.builds(
        InstanceAnnotation, instances=st.lists(instances, max_size=4), proposals=st.lists(proposals, max_size=4)
    ),
    labelled_at_s=st.floats(0, 1e10),
    key=st.text(max_size=20),
    nouns_per_caption=st.lists(st.integers(0, 50), max_size=5),
)


@given(messages)
def test_a_message_comes_back_as_it_went(message):
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_a_message_error(data):
    with pytest.raises(MessageError):
        decode(data)


@given(messages, st.data())
@settings(max_examples=200)
def test_a_damaged_message_is_refused_or_still_a_valid_one(message, data):
    packed = bytearray(encode(message))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(packed))
    except MessageError:
        return
    encode(found)


def test_five_instances_by_reference_take_less_than_a_kilobyte():
    assert len(encode(label(SAMPLE, num_instances=5))) < 1000


def test_a_message_too_large_for_redis_is_refused_before_it_is_sent():
    with pytest.raises(MessageError, match="above the limit"):
        encode(msgspec.structs.replace(label(SAMPLE), image=ImageInline(bytes(MAX_MESSAGE_BYTES))))


@pytest.mark.parametrize("rest", [["a field of the future"], []])
def test_a_label_of_a_newer_release_is_told_from_a_broken_one(rest):
    wire = msgspec.msgpack.decode(encode(label(SAMPLE)))
    wire[0] = 2
    with pytest.raises(SchemaTooNew, match=r"newer xpm_stream \(schema version 2, this one reads 1\): update"):
        decode(msgspec.msgpack.encode([*wire, *rest]))


def test_a_label_of_a_newer_release_need_not_look_like_ours():
    with pytest.raises(SchemaTooNew):
        decode(msgspec.msgpack.encode([2, {"everything": "else"}]))


def test_an_older_schema_version_is_named():
    wire = msgspec.msgpack.decode(encode(label(SAMPLE)))
    wire[0] = 0
    with pytest.raises(MessageError, match="schema version 0, this build reads 1") as caught:
        decode(msgspec.msgpack.encode(wire))
    assert not isinstance(caught.value, SchemaTooNew)


def test_a_reference_without_a_checksum_is_still_read():
    wire = msgspec.msgpack.decode(encode(label(SAMPLE)))
    assert wire[4][4:] == [0xFFFFFFFF]
    wire[4] = wire[4][:4]
    found = decode(msgspec.msgpack.encode(wire))
    assert isinstance(found.image, ImageReference)
    assert found.image.crc32 is None


def test_a_reader_of_before_the_checksum_passes_over_it():
    class Earlier(msgspec.Struct, array_like=True, tag="r"):
        url: str
        offset: int
        size: int

    wire = msgspec.msgpack.decode(encode(label(SAMPLE)))
    assert msgspec.convert(wire[4], Earlier).size == 54321


def test_labels_of_before_the_proposals_are_still_read_and_their_readers_pass_over_them():
    proposal = RegionProposal(box_xyxy=(0.0, 1.0, 2.0, 3.0), background_score=0.5)
    annotation = InstanceAnnotation(instances=[instance()], proposals=[proposal, proposal])
    wire = msgspec.msgpack.decode(encode(msgspec.structs.replace(label(SAMPLE), annotation=annotation)))
    assert len(wire[7][2]) == 2 * 20
    wire[7] = wire[7][:2]
    assert decode(msgspec.msgpack.encode(wire)).annotation == InstanceAnnotation(instances=[instance()])

    class Earlier(msgspec.Struct, array_like=True, tag="instances"):
        instances: list[msgspec.Raw]

    assert len(msgspec.msgpack.decode(msgspec.msgpack.encode([*wire[7], b"later"]), type=Earlier).instances) == 1


def test_proposals_cut_short_are_refused():
    wire = msgspec.msgpack.decode(encode(label(SAMPLE)))
    wire[7][2] = b"x" * 21
    with pytest.raises(MessageError, match="21 bytes, not a multiple of 20"):
        decode(msgspec.msgpack.encode(wire))


@pytest.mark.parametrize(
    ("box", "score", "complaint"),
    [
        ((5.0, 0.0, 1.0, 1.0), 0.5, "box of a proposal"),
        ((0.0, 0.0, math.nan, 1.0), 0.5, "box of a proposal"),
        ((0.0, 0.0, 1.0, 1.0), 1.5, "background score"),
        ((0.0, 0.0, 1.0, 1.0), math.nan, "background score"),
    ],
)
def test_an_impossible_proposal_is_refused_before_it_is_sent(box, score, complaint):
    broken = InstanceAnnotation(instances=[], proposals=[RegionProposal(box_xyxy=box, background_score=score)])
    with pytest.raises(MessageError, match=complaint):
        encode(msgspec.structs.replace(label(SAMPLE), annotation=broken))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"mask_bits": b"\0" * 97}, "97 bytes"),
        ({"score": 1.5}, "score"),
        ({"score": math.nan}, "score"),
        ({"reliability": -0.5}, "reliability"),
        ({"box_xyxy": (5.0, 0.0, 1.0, 1.0)}, "box"),
        ({"box_xyxy": (0.0, 0.0, math.inf, 1.0)}, "box"),
        ({"box_xyxy": (0.0, math.nan, 1.0, 1.0)}, "box"),
    ],
)
def test_an_impossible_instance_is_refused_before_it_is_sent(change, complaint):
    broken = msgspec.structs.replace(instance(), **change)
    message = msgspec.structs.replace(label(SAMPLE), annotation=InstanceAnnotation(instances=[broken]))
    with pytest.raises(MessageError, match=complaint):
        encode(message)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"image": ImageReference("u", -1, 5)}, "byte range"),
        ({"image": ImageReference("u", 1, 5, 2**32)}, "checksum"),
        ({"key": "a\udcff"}, "surrogates not allowed"),
        ({"image": ImageInline(b"")}, "empty"),
        ({"image_size_wh": (0, 5)}, "image size"),
        ({"labelled_at_s": math.inf}, "labelled_at_s"),
        ({"sample": SampleId(0, ShardId("a"), -1)}, "negative"),
        ({"nouns_per_caption": [2, -1]}, "nouns_per_caption"),
    ],
)
def test_an_impossible_message_is_refused_before_it_is_sent(change, complaint):
    with pytest.raises(MessageError, match=complaint):
        encode(msgspec.structs.replace(label(SAMPLE), **change))


class _WireBefore(msgspec.Struct, array_like=True):
    """A label as the release before `nouns_per_caption` declares it."""

    schema_version: int
    method: str
    sample: tuple[int, str, int]
    teacher: tuple[int, int, int]
    image: list[object]
    image_size_wh: tuple[int, int]
    words: list[str]
    annotation: list[object]
    labelled_at_s: float
    key: str


def test_nouns_per_caption_are_an_addition_that_older_releases_pass_over_and_newer_ones_do_without():
    message = msgspec.structs.replace(label(SAMPLE), nouns_per_caption=[3, 0, 1])
    assert decode(encode(message)).nouns_per_caption == [3, 0, 1]
    as_read_before = msgspec.msgpack.decode(encode(message), type=_WireBefore)
    assert (as_read_before.schema_version, as_read_before.key) == (1, message.key)
    of_before = decode(msgspec.msgpack.encode(as_read_before))
    assert of_before == msgspec.structs.replace(message, nouns_per_caption=[])
