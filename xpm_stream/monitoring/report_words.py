"""Which words the stream brought, how far labels of them are trusted, and which came or went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xpm_stream.monitoring.drift_records import WindowRecord
from xpm_stream.monitoring.drift_statistics import WordChange


@dataclass(frozen=True, slots=True, kw_only=True)
class WordLine:
    """One word over all windows in which it was among the most frequent."""

    word: str
    mentions: int  # labels whose captions name it, in those windows
    windows: int
    reliability: float | None  # mean over the windows that have one, by mentions


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedWords:
    """The words that one window has more or less of than a reference."""

    reference: str
    window: int
    words: Sequence[WordChange]  # most changed first


def top_words(records: Sequence[WindowRecord], *, most: int) -> list[WordLine]:
    """Return the words with most mentions."""
    mentions: dict[str, int] = {}
    windows: dict[str, int] = {}
    rated: dict[str, int] = {}
    weighted: dict[str, float] = {}
    for record in records:
        for one in record.words:
            mentions[one.word] = mentions.get(one.word, 0) + one.mentions
            windows[one.word] = windows.get(one.word, 0) + 1
            if one.reliability is not None:
                rated[one.word] = rated.get(one.word, 0) + one.mentions
                weighted[one.word] = weighted.get(one.word, 0.0) + one.mentions * one.reliability
    ordered = sorted(mentions, key=lambda word: (-mentions[word], word))
    return [
        WordLine(
            word=word,
            mentions=mentions[word],
            windows=windows[word],
            reliability=weighted[word] / rated[word] if rated.get(word) else None,
        )
        for word in ordered[:most]
    ]


def changed_words(records: Sequence[WindowRecord], *, most: int) -> list[ChangedWords]:
    """Return the most changed words of the newest window that was judged, for each reference."""
    for record in reversed(records):
        found = [
            ChangedWords(reference=verdict.reference, window=record.number, words=verdict.changed_words[:most])
            for verdict in record.verdicts
            if verdict.changed_words
        ]
        if found:
            return found
    return []
