"""The captions of a sample, from KEY.txt and from a field of KEY.json."""

from __future__ import annotations

import json
from typing import Any

from xpm_stream.errors import SampleError


def parse_captions(text: bytes | None, fields: bytes | None, *, caption_field: str) -> list[str]:
    """Return the distinct captions of KEY.txt (`text`) and of a field of KEY.json (`fields`), in that order.

    Everywhere one line is one caption; the field may be a string or a list of strings, or null. White space is evened
    out, so a caption that stands in both files counts once.

    Raises:
        SampleError: with reason `caption_not_utf8` or `json_invalid`.
    """
    captions: list[str] = []
    if text is not None:
        captions.extend(_decode(text).splitlines())
    if fields is not None:
        for caption in _captions_in_json(fields, caption_field):
            captions.extend(caption.splitlines())
    evened = (" ".join(caption.split()) for caption in captions)
    return list(dict.fromkeys(caption for caption in evened if caption))


def _decode(text: bytes) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SampleError(f"the caption is not UTF-8: {error}", reason="caption_not_utf8") from error


def _captions_in_json(fields: bytes, caption_field: str) -> list[str]:
    text = _decode(fields)
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SampleError(f"KEY.json is not JSON: {error}", reason="json_invalid") from error
    if not isinstance(tree, dict):
        raise SampleError(f"KEY.json must hold an object, not {type(tree).__name__}", reason="json_invalid")
    value = tree.get(caption_field)
    captions = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        message = f"field {caption_field!r} of KEY.json must be a string or a list of strings, not {str(value)[:80]!r}"
        raise SampleError(message, reason="json_invalid")
    for caption in captions:
        # JSON can spell half of a surrogate pair, which no later step could write down.
        if not caption.isascii() and any("\ud800" <= character <= "\udfff" for character in caption):
            raise SampleError(f"field {caption_field!r} of KEY.json is not Unicode text", reason="caption_not_utf8")
    return captions
