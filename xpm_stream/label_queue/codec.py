"""Label messages to bytes and back: msgpack, positional, typed, versioned, validated on read.

Layout (schema version 1): [version, method, [pass, shard, ordinal], [promotion, epoch, step], image, [width, height],
words, annotation, labelled_at_s, key, nouns_per_caption]. An image is ["r", url, offset, size, crc32] or ["i", bytes];
annotation_wire.py says what an annotation is. A field added at an end needs no new version: a reader that does not know
it passes over it, and one that misses it takes its default (crc32: none; nouns_per_caption: empty).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from xpm_stream.annotation_wire import WireAnnotation, check_annotation, from_wire, to_wire
from xpm_stream.errors import MessageError, SchemaTooNew
from xpm_stream.records import (
    SCHEMA_VERSION,
    ImageInline,
    ImagePayload,
    ImageReference,
    LabelMessage,
    SampleId,
    ShardId,
    TeacherVersion,
)


class _Reference(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="r"):
    url: str
    offset: int
    size: int
    crc32: int | None = None


class _Inline(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="i"):
    data: bytes


class _Header(msgspec.Struct, frozen=True, array_like=True):
    schema_version: int


class _Wire(msgspec.Struct, frozen=True, gc=False, array_like=True):
    schema_version: int
    method: str
    sample: tuple[int, str, int]
    teacher: tuple[int, int, int]
    image: _Reference | _Inline
    image_size_wh: tuple[int, int]
    words: list[str]
    annotation: WireAnnotation
    labelled_at_s: float
    key: str
    nouns_per_caption: list[int] = []


MAX_MESSAGE_BYTES: Final = 64 << 20  # Redis takes half a gigabyte at once, and a commit carries a batch

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Wire)
_HEADER_DECODER: Final = msgspec.msgpack.Decoder(_Header)


def encode(message: LabelMessage) -> bytes:
    """The message as bytes.

    Raises:
        MessageError: it holds what a reader would refuse (a mask of another size, a number that is not finite, ...), or
            has more than MAX_MESSAGE_BYTES.
    """
    _check(message)
    try:
        data = _ENCODER.encode(_wire(message))
    except UnicodeEncodeError as error:
        raise MessageError(f"label of sample {message.sample}: {error}") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(
            f"label of sample {message.sample} has {len(data)} bytes, above the limit of {MAX_MESSAGE_BYTES}"
        )
    return data


def _wire(message: LabelMessage) -> _Wire:
    sample, teacher = message.sample, message.teacher
    return _Wire(
        schema_version=message.schema_version,
        method=message.method,
        sample=(sample.pass_index, sample.shard_id, sample.ordinal),
        teacher=(teacher.promotion, teacher.epoch, teacher.step),
        image=_wire_image(message.image),
        image_size_wh=message.image_size_wh,
        words=message.words,
        annotation=to_wire(message.annotation),
        labelled_at_s=message.labelled_at_s,
        key=message.key,
        nouns_per_caption=message.nouns_per_caption,
    )


def decode(data: bytes) -> LabelMessage:
    """The message in these bytes.

    Raises:
        SchemaTooNew: a newer release wrote them.
        MessageError: they are not a label message, of an older schema version, or hold impossible values.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"label message of {len(data)} bytes, above the limit of {MAX_MESSAGE_BYTES}")
    try:
        wire = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _check_version(_version_of(data))
        raise MessageError(f"label message of {len(data)} bytes: {error}") from error
    _check_version(wire.schema_version)
    message = LabelMessage(
        schema_version=wire.schema_version,
        method=wire.method,
        sample=SampleId(wire.sample[0], ShardId(wire.sample[1]), wire.sample[2]),
        teacher=TeacherVersion(*wire.teacher),
        image=_image(wire.image),
        image_size_wh=wire.image_size_wh,
        words=wire.words,
        annotation=from_wire(wire.annotation),
        labelled_at_s=wire.labelled_at_s,
        key=wire.key,
        nouns_per_caption=wire.nouns_per_caption,
    )
    _check(message)
    return message


def _version_of(data: bytes) -> int:
    """The schema version of a message that may be of another one, and so cannot be decoded as a whole."""
    try:
        return _HEADER_DECODER.decode(data).schema_version
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(f"{len(data)} bytes are not a label message: {error}") from error


def _check_version(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"a label was written by a newer xpm_stream (schema version {version}, this one reads {SCHEMA_VERSION}): "
            "update this one, trainer before labelers; the label stays where it is"
        )
    if version != SCHEMA_VERSION:
        raise MessageError(
            f"label message has schema version {version}, this build reads {SCHEMA_VERSION}: "
            "run labelers and trainer from the same release, or let the old release finish the queue"
        )


def _wire_image(image: ImagePayload) -> _Reference | _Inline:
    if isinstance(image, ImageReference):
        return _Reference(image.url, image.offset, image.size, image.crc32)
    return _Inline(image.data)


def _image(wire: _Reference | _Inline) -> ImagePayload:
    if isinstance(wire, _Reference):
        return ImageReference(wire.url, wire.offset, wire.size, wire.crc32)
    return ImageInline(wire.data)


def _check(message: LabelMessage) -> None:
    try:
        _check_values(message)
    except MessageError as error:
        raise MessageError(f"label of sample {message.sample}: {error}") from None


def _check_values(message: LabelMessage) -> None:
    sample, teacher = message.sample, message.teacher
    if sample.pass_index < 0 or sample.ordinal < 0 or teacher.promotion < 0 or teacher.epoch < 0 or teacher.step < 0:
        raise MessageError(f"pass, ordinal and teacher version {teacher!r} must not be negative")
    width, height = message.image_size_wh
    if width < 1 or height < 1:
        raise MessageError(f"image size {message.image_size_wh} is not a size in pixels")
    image = message.image
    if isinstance(image, ImageReference):
        if image.offset < 0 or image.size < 1:
            raise MessageError(f"image reference {image.url}@{image.offset}+{image.size} is not a byte range")
        if image.crc32 is not None and not 0 <= image.crc32 < 2**32:
            raise MessageError(f"image reference {image.url}@{image.offset} has checksum {image.crc32}, not a CRC-32")
    elif not image.data:
        raise MessageError("the image carried inline is empty")
    if min(message.nouns_per_caption, default=0) < 0:
        raise MessageError(f"nouns_per_caption is {message.nouns_per_caption}: numbers of nouns are not negative")
    if not math.isfinite(message.labelled_at_s):
        raise MessageError(f"labelled_at_s is {message.labelled_at_s}")
    check_annotation(message.annotation, where=message.method)
