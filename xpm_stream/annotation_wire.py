"""How each kind of annotation travels in a label message: compact, positional, checked when written and when read.

A kind is a tagged struct of `WireAnnotation` with its way in (`to_wire`), its way out (`from_wire`) and its limits
(`check_annotation`). Everything around the annotation is the label queue's codec, which never looks inside.

`InstanceAnnotation` is ["instances", [[word, geometry, mask], ...], proposals]; `geometry` is six big-endian float32:
box x1 y1 x2 y2, score, reliability (NaN: the teacher gives none); `proposals` is five for each proposal: box and
background score. They thus travel in the precision networks give them in.
"""

from __future__ import annotations

import math
import struct
from typing import Final

import msgspec

from xpm_stream.errors import MessageError
from xpm_stream.records import MASK_GRID, Annotation, InstanceAnnotation, PseudoInstance, RegionProposal

_GEOMETRY: Final = struct.Struct(">6f")
_PROPOSAL: Final = struct.Struct(">5f")
_MASK_BYTES: Final = MASK_GRID * MASK_GRID // 8
_FLOAT32_MAX: Final = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]


class WireInstance(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One pseudo instance on the wire."""

    word: str
    geometry: bytes
    mask_bits: bytes


class WireInstances(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="instances"):
    """`InstanceAnnotation` on the wire."""

    instances: list[WireInstance]
    proposals: bytes = b""


WireAnnotation = WireInstances  # grows with the Annotation union, by array-like structs with tags of their own


def to_wire(annotation: Annotation) -> WireAnnotation:
    """Return the wire form; `check_annotation` it first."""
    return WireInstances(
        [_wire_instance(instance) for instance in annotation.instances],
        b"".join(_PROPOSAL.pack(*one.box_xyxy, one.background_score) for one in annotation.proposals),
    )


def from_wire(wire: WireAnnotation) -> Annotation:
    """Return the annotation; `check_annotation` it before use.

    Raises:
        MessageError: a packed field is not of its size.
    """
    if len(wire.proposals) % _PROPOSAL.size:
        raise MessageError(f"proposals have {len(wire.proposals)} bytes, not a multiple of {_PROPOSAL.size}")
    return InstanceAnnotation(
        instances=[_instance(one) for one in wire.instances],
        proposals=[
            RegionProposal(box_xyxy=(x1, y1, x2, y2), background_score=score)
            for x1, y1, x2, y2, score in _PROPOSAL.iter_unpack(wire.proposals)
        ],
    )


def check_annotation(annotation: Annotation, *, where: str) -> None:
    """Check that an annotation holds nothing impossible; `where` begins the error's message.

    Raises:
        MessageError: a mask of another size, a box that is none, a score or reliability out of range.
    """
    for instance in annotation.instances:
        _check_instance(instance, where)
    for proposal in annotation.proposals:
        _check_box(proposal.box_xyxy, where, of="a proposal")
        if not 0.0 <= proposal.background_score <= 1.0:
            raise MessageError(f"{where}: background score of a proposal is {proposal.background_score}, not 0..1")


def _wire_instance(instance: PseudoInstance) -> WireInstance:
    reliability = math.nan if instance.reliability is None else instance.reliability
    geometry = _GEOMETRY.pack(*instance.box_xyxy, instance.score, reliability)
    return WireInstance(instance.word, geometry, instance.mask_bits)


def _instance(wire: WireInstance) -> PseudoInstance:
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


def _check_instance(instance: PseudoInstance, where: str) -> None:
    if len(instance.mask_bits) != _MASK_BYTES:
        raise MessageError(
            f"{where}: mask of `{instance.word}` has {len(instance.mask_bits)} bytes; "
            f"a {MASK_GRID}x{MASK_GRID} grid has {_MASK_BYTES}"
        )
    _check_box(instance.box_xyxy, where, of=f"`{instance.word}`")
    if not 0.0 <= instance.score <= 1.0:
        raise MessageError(f"{where}: score of `{instance.word}` is {instance.score}, not 0..1")
    if instance.reliability is not None and not 0.0 <= instance.reliability <= 1.0:
        raise MessageError(f"{where}: reliability of `{instance.word}` is {instance.reliability}, not 0..1")


def _check_box(box_xyxy: tuple[float, float, float, float], where: str, *, of: str) -> None:
    x1, y1, x2, y2 = box_xyxy
    if not (-_FLOAT32_MAX <= x1 <= x2 <= _FLOAT32_MAX and -_FLOAT32_MAX <= y1 <= y2 <= _FLOAT32_MAX):
        raise MessageError(f"{where}: box of {of} is {box_xyxy}, not x1 <= x2, y1 <= y2 in pixels")
