"""Label messages to bytes and back: msgpack, positional, typed, versioned, validated on read.

Layout (schema version 1): [version, method, [pass, shard, ordinal], [promotion, epoch, step], image, [width, height],
words, annotation, labelled_at_s, key], where image is ["r", url, offset, size] or ["i", bytes] and annotation is
["instances", [[word, geometry, mask], ...]]. `geometry` is six big-endian float32: box x1 y1 x2 y2, score, reliability
(NaN: the teacher gives none). Boxes and scores thus travel in float32, the precision networks give them in.

A new kind of annotation gets its wire form here; queue, audit and registry never look inside.
"""

from __future__ import annotations

import math
import struct
from typing import Final

import msgspec

from xpm_stream.errors import MessageError
from xpm_stream.records import (
    MASK_GRID,
    SCHEMA_VERSION,
    Annotation,
    ImageInline,
    ImagePayload,
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)

_GEOMETRY: Final = struct.Struct(">6f")
_MASK_BYTES: Final = MASK_GRID * MASK_GRID // 8
_FLOAT32_MAX: Final = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]


class _Reference(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    url: str
    offset: int
    size: int


class _Inline(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    data: bytes


class _Instance(msgspec.Struct, frozen=True, array_like=True):
    word: str
    geometry: bytes
    mask_bits: bytes


class _Instances(msgspec.Struct, frozen=True, array_like=True, tag="instances"):
    instances: list[_Instance]


class _Header(msgspec.Struct, frozen=True, array_like=True):
    schema_version: int


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    schema_version: int
    method: str
    sample: tuple[int, str, int]
    teacher: tuple[int, int, int]
    image: _Reference | _Inline
    image_size_wh: tuple[int, int]
    words: list[str]
    annotation: _Instances
    labelled_at_s: float
    key: str


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Wire)
_HEADER_DECODER: Final = msgspec.msgpack.Decoder(_Header)


def encode(message: LabelMessage) -> bytes:
    """The message as bytes.

    Raises:
        MessageError: it holds what a reader would refuse (a mask of another size, a number that is not finite, ...).
    """
    _check(message)
    sample, teacher = message.sample, message.teacher
    return _ENCODER.encode(
        _Wire(
            schema_version=message.schema_version,
            method=message.method,
            sample=(sample.pass_index, sample.shard_id, sample.ordinal),
            teacher=(teacher.promotion, teacher.epoch, teacher.step),
            image=_wire_image(message.image),
            image_size_wh=message.image_size_wh,
            words=message.words,
            annotation=_wire_annotation(message.annotation),
            labelled_at_s=message.labelled_at_s,
            key=message.key,
        )
    )


def decode(data: bytes) -> LabelMessage:
    """The message in these bytes.

    Raises:
        MessageError: they are not a label message, of another schema version, or hold impossible values.
    """
    try:
        version = _HEADER_DECODER.decode(data).schema_version
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(f"{len(data)} bytes are not a label message: {error}") from error
    if version != SCHEMA_VERSION:
        raise MessageError(
            f"label message has schema version {version}, this build reads {SCHEMA_VERSION}: "
            "run labelers and trainer from the same release, or let the old release finish the queue"
        )
    try:
        wire = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(f"label message of {len(data)} bytes: {error}") from error
    message = LabelMessage(
        schema_version=wire.schema_version,
        method=wire.method,
        sample=SampleId(wire.sample[0], ShardId(wire.sample[1]), wire.sample[2]),
        teacher=TeacherVersion(*wire.teacher),
        image=_image(wire.image),
        image_size_wh=wire.image_size_wh,
        words=wire.words,
        annotation=InstanceAnnotation(instances=[_instance(one) for one in wire.annotation.instances]),
        labelled_at_s=wire.labelled_at_s,
        key=wire.key,
    )
    _check(message)
    return message


def _wire_image(image: ImagePayload) -> _Reference | _Inline:
    if isinstance(image, ImageReference):
        return _Reference(image.url, image.offset, image.size)
    return _Inline(image.data)


def _image(wire: _Reference | _Inline) -> ImagePayload:
    if isinstance(wire, _Reference):
        return ImageReference(wire.url, wire.offset, wire.size)
    return ImageInline(wire.data)


def _wire_annotation(annotation: Annotation) -> _Instances:
    return _Instances([_wire_instance(instance) for instance in annotation.instances])


def _wire_instance(instance: PseudoInstance) -> _Instance:
    reliability = math.nan if instance.reliability is None else instance.reliability
    geometry = _GEOMETRY.pack(*instance.box_xyxy, instance.score, reliability)
    return _Instance(instance.word, geometry, instance.mask_bits)


def _instance(wire: _Instance) -> PseudoInstance:
    if len(wire.geometry) != _GEOMETRY.size:
        raise MessageError(f"instance `{wire.word}` has {len(wire.geometry)} bytes of geometry, not {_GEOMETRY.size}")
    x1, y1, x2, y2, score, reliability = _GEOMETRY.unpack(wire.geometry)
    return PseudoInstance(
        word=wire.word,
        box_xyxy=(x1, y1, x2, y2),
        mask_bits=wire.mask_bits,
        score=score,
        reliability=None if math.isnan(reliability) else reliability,
    )


def _check(message: LabelMessage) -> None:
    where = f"label of sample {message.sample}"
    sample, teacher = message.sample, message.teacher
    if min(sample.pass_index, sample.ordinal, teacher.promotion, teacher.epoch, teacher.step) < 0:
        raise MessageError(f"{where}: pass, ordinal and teacher version {teacher!r} must not be negative")
    if min(message.image_size_wh) < 1:
        raise MessageError(f"{where}: image size {message.image_size_wh} is not a size in pixels")
    image = message.image
    if isinstance(image, ImageReference) and (image.offset < 0 or image.size < 1):
        raise MessageError(f"{where}: image reference {image.url}@{image.offset}+{image.size} is not a byte range")
    if isinstance(image, ImageInline) and not image.data:
        raise MessageError(f"{where}: the image carried inline is empty")
    if not math.isfinite(message.labelled_at_s):
        raise MessageError(f"{where}: labelled_at_s is {message.labelled_at_s}")
    for instance in message.annotation.instances:
        _check_instance(instance, where)


def _check_instance(instance: PseudoInstance, where: str) -> None:
    if len(instance.mask_bits) != _MASK_BYTES:
        raise MessageError(
            f"{where}: mask of `{instance.word}` has {len(instance.mask_bits)} bytes; "
            f"a {MASK_GRID}x{MASK_GRID} grid has {_MASK_BYTES}"
        )
    x1, y1, x2, y2 = instance.box_xyxy
    if not all(abs(edge) <= _FLOAT32_MAX for edge in (x1, y1, x2, y2)) or x2 < x1 or y2 < y1:
        raise MessageError(
            f"{where}: box of `{instance.word}` is {instance.box_xyxy}, not x1 <= x2, y1 <= y2 in pixels"
        )
    if not 0.0 <= instance.score <= 1.0:
        raise MessageError(f"{where}: score of `{instance.word}` is {instance.score}, not 0..1")
    if instance.reliability is not None and not 0.0 <= instance.reliability <= 1.0:
        raise MessageError(f"{where}: reliability of `{instance.word}` is {instance.reliability}, not 0..1")
