"""Caption samples from shards in the layouts of WebDataset and img2dataset; every sample is counted, none is skipped.

A sample is a run of members with one key (the name up to the first dot of its last part): KEY.jpg|jpeg|png|webp, and
captions in KEY.txt (one a line) or a field of KEY.json. A file that comes twice starts the next sample.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.captions import parse_captions
from xpm_stream.data.shard_writing import IMAGE_EXTENSIONS
from xpm_stream.data.tar_members import TarMember, TarReader
from xpm_stream.data.tar_stream import DamageReason, TarDamageError, open_tar
from xpm_stream.errors import SampleError
from xpm_stream.records import ImageReference

MAX_TEXT_BYTES: Final = 1 << 20  # KEY.txt or KEY.json above this is rejected
MAX_KEY_CHARS: Final = 255  # longer keys are cut where they are shown
_INCOMPLETE: Final = ("missing_image", "missing_caption")

# Every reason a SampleError of data/ may carry; a bounded set, because it becomes a metric label.
SAMPLE_REASONS: Final = (
    *_INCOMPLETE,
    "caption_not_utf8",
    "json_invalid",
    "text_too_large",
    "image_too_large",
    "image_too_small",
    "image_broken",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TarSample:
    """One sample of a shard, usable or not. Offsets are bytes in the uncompressed tar."""

    ordinal: int  # 0-based place in the shard; unusable samples count
    key: str
    image: bytes = field(repr=False)  # the encoded file; empty when it is missing or too large
    reference: ImageReference | None  # the image as a byte range; none if the shard is compressed or cannot seek
    captions: list[str]  # at least one unless `problem` is set
    captions_cut: int  # captions that were longer than `max_caption_chars`
    captions_left_out: int  # captions beyond `max_captions`
    offset: int  # of the sample's first header
    next_offset: int  # of the next sample's first header: where to resume after this one
    problem: SampleError | None  # why the sample cannot be used; its reason is one of SAMPLE_REASONS


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardDamage:
    """A shard cannot be read beyond here: always the last record of its stream."""

    reason: DamageReason
    detail: str  # for people
    ordinal: int  # of the first sample that could not be read
    offset: int  # bytes in the uncompressed tar where reading stopped


def read_samples(
    shard_url: str, *, config: DataConfig, start_offset: int = 0, start_ordinal: int = 0
) -> Iterator[TarSample | ShardDamage]:
    """Read a shard, from its start or from where an earlier read left off, holding one sample at a time.

    To resume after a sample, pass its `next_offset` and `ordinal + 1`: the records that follow are the same as in an
    unbroken read. That is a seek in a plain tar on a store that can seek; a compressed or unseekable shard is read
    through (and decompressed) up to there again, without parsing.

    A damaged shard gives every sample that was whole before the damage, then one ShardDamage.

    Raises:
        ShardError: the shard is missing or cannot be read.
        ShardUnavailable: its store does not answer now; resuming later may help.
    """
    with open_tar(shard_url) as stream:
        tar = TarReader(stream, start_offset=start_offset)
        sample: _Assembly | None = None
        ordinal = start_ordinal
        try:
            for member in tar:
                place = _split_name(member)
                if place is None:
                    continue
                key, extension = place
                if sample is None or key != sample.key or extension in sample.seen:
                    if sample is not None:
                        yield sample.finish(next_offset=member.offset)
                        ordinal += 1
                    sample = _Assembly(key=key, ordinal=ordinal, offset=member.offset, config=config)
                sample.add(tar, member, extension)
        except TarDamageError as damage:
            yield from _end_in_damage(tar, damage, sample, ordinal)
            return
        if sample is not None:
            yield sample.finish(next_offset=tar.offset)


def sample_offsets(shard_url: str, *, start_offset: int = 0) -> Iterator[int]:
    """Yield where each sample starts, and then where the last one ends, by the tar's headers: no file of it is read.

    Raises:
        ShardError: the shard is missing or cannot be read; TarDamageError where it is damaged.
    """
    with open_tar(shard_url) as stream:
        tar = TarReader(stream, start_offset=start_offset)
        key, seen = "", set[str]()
        for member in tar:
            place = _split_name(member)
            if place is None:
                continue
            if place[0] != key or place[1] in seen:
                yield member.offset
                key, seen = place[0], set()
            if place[1] in (*IMAGE_EXTENSIONS, "txt", "json"):
                seen.add(place[1])
        yield tar.offset


@dataclass(slots=True, kw_only=True)
class _Assembly:
    """A sample while its members come in."""

    key: str
    ordinal: int
    offset: int
    config: DataConfig
    seen: set[str] = field(default_factory=set)  # extensions that matter; a second one belongs to the next sample
    others: list[str] = field(default_factory=list)  # a few of the others, for messages
    image: bytes = b""
    reference: ImageReference | None = None
    image_rank: int = len(IMAGE_EXTENSIONS)
    texts: dict[str, bytes] = field(default_factory=dict)
    problem: SampleError | None = None

    def add(self, tar: TarReader, member: TarMember, extension: str) -> None:
        if extension in IMAGE_EXTENSIONS:
            self._add_image(tar, member, extension)
        elif extension in ("txt", "json"):
            if self._fits(member, MAX_TEXT_BYTES, "text_too_large"):
                self.texts[extension] = tar.read(member)
        else:
            self.others = [*self.others, member.name[-80:]] if len(self.others) < 3 else self.others
            return
        self.seen.add(extension)

    def finish(self, *, next_offset: int) -> TarSample:
        captions: list[str] = []
        try:
            captions = parse_captions(
                self.texts.get("txt"), self.texts.get("json"), caption_field=self.config.caption_field
            )
        except SampleError as error:
            self.problem = self.problem or error
        limit = self.config.max_caption_chars
        used = captions[: self.config.max_captions]
        return TarSample(
            ordinal=self.ordinal,
            key=self.key[:MAX_KEY_CHARS],
            image=self.image,
            reference=self.reference,
            captions=[caption[:limit] for caption in used],
            captions_cut=sum(len(caption) > limit for caption in used),
            captions_left_out=len(captions) - len(used),
            offset=self.offset,
            next_offset=next_offset,
            problem=self.problem or self._incomplete(captions),
        )

    def _add_image(self, tar: TarReader, member: TarMember, extension: str) -> None:
        # Beside a KEY.jpg a KEY.png is often a mask: the order of IMAGE_EXTENSIONS decides, not the order in the tar.
        rank = IMAGE_EXTENSIONS.index(extension)
        if rank < self.image_rank and self._fits(member, self.config.max_image_bytes, "image_too_large"):
            self.image = tar.read(member)
            if tar.can_seek:
                self.reference = ImageReference(
                    url=tar.url, offset=member.data_offset, size=member.size, crc32=zlib.crc32(self.image)
                )
            self.image_rank = rank

    def _fits(self, member: TarMember, max_bytes: int, reason: str) -> bool:
        if member.size <= max_bytes:
            return True
        message = f"{member.name[-MAX_KEY_CHARS:]} has {member.size} bytes, above the limit of {max_bytes}"
        self.problem = self.problem or SampleError(message, reason=reason)
        return False

    def _incomplete(self, captions: list[str]) -> SampleError | None:
        found = sorted(self.seen) + self.others
        if not self.seen.intersection(IMAGE_EXTENSIONS):
            wanted = ", ".join(IMAGE_EXTENSIONS)
            return SampleError(f"no image ({wanted}) of this key; found {', '.join(found)}", reason="missing_image")
        if not captions:
            message = (
                f"no caption in KEY.txt or field {self.config.caption_field!r} of KEY.json; found {', '.join(found)}"
            )
            return SampleError(message, reason="missing_caption")
        return None


def _end_in_damage(
    tar: TarReader, damage: TarDamageError, sample: _Assembly | None, ordinal: int
) -> Iterator[TarSample | ShardDamage]:
    offset = tar.offset
    if sample is not None:
        last = sample.finish(next_offset=tar.offset)
        if last.problem is not None and last.problem.reason in _INCOMPLETE:
            # What is missing of it may be behind the damage, so it belongs to the damage.
            offset = last.offset
        else:
            yield last
            ordinal += 1
    yield ShardDamage(reason=damage.reason, detail=str(damage), ordinal=ordinal, offset=offset)


def _split_name(member: TarMember) -> tuple[str, str] | None:
    """Return key and extension by WebDataset's rule; none for what belongs to no sample."""
    folder, slash, file_name = member.name.rpartition("/")
    stem, dot, extension = file_name.partition(".")
    hidden = not stem or not dot  # .DS_Store, macOS's ._KEY.jpg, files without extension
    is_meta = file_name.startswith("__") and file_name.endswith("__")
    if not member.is_file or hidden or is_meta:
        return None
    return folder + slash + stem, extension.lower()
