"""The lexicon that ships with the package: nouns that name physical objects, compiled from WordNet 3.0.

The file is gzip'd UTF-8 text: one JSON header line, then one line for each spelling, sorted:
`key TAB canonical TAB flags`, where an empty canonical means "the key itself" and trailing empty fields are left off.
Irregular plurals and spelling variants are lines of their own. `xpm_stream.text.lexicon_build` writes it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from xpm_stream.errors import TextError

FORMAT = "xpm-stream lexicon"
FORMAT_VERSION = 1

VERB_FLAG = "v"
"""Mostly a verb elsewhere ("watch"): a noun only inside a noun phrase."""
MODIFIER_FLAG = "m"
"""Often an adjective ("orange"): no noun before another noun, or after "is"."""
SPORT_FLAG = "s"
"""A sport and its ball ("baseball"): no noun after "playing", before "game", or before another noun."""
IMAGE_FLAG = "i"
"""A word for the image itself ("photo"): no noun before "of"."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the lexicon knows of one spelling."""

    canonical: str
    flags: str


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Spellings of object nouns. Treat it as read-only: `load_lexicon` hands the same one to everybody."""

    header: dict[str, object]
    singles: dict[str, str]
    """One-token key -> `canonical TAB flags`, not yet split (splitting all at start would cost more than it saves)."""
    phrases: dict[str, list[str]]
    """First token -> the lines, `rest of key TAB canonical TAB flags`, of the multi-token keys that begin with it."""

    def single(self, token: str) -> Entry | None:
        """The entry of a one-token key, or None."""
        fields = self.singles.get(token)
        if fields is None:
            return None
        canonical, _, flags = fields.partition("\t")
        return Entry(canonical or token, flags)

    def phrases_from(self, token: str) -> list[tuple[list[str], Entry]]:
        """Every multi-token key that begins with `token`, as (its further tokens, its entry)."""
        found = []
        for line in self.phrases.get(token, ()):
            rest, _, fields = line.partition("\t")
            canonical, _, flags = fields.partition("\t")
            found.append((rest.split(" "), Entry(canonical or f"{token} {rest}", flags)))
        return found

    def __len__(self) -> int:
        return len(self.singles) + sum(map(len, self.phrases.values()))


@cache
def load_lexicon(path: Path | None = None) -> Lexicon:
    """Read a lexicon file; without `path`, the one that ships with the package. Read once for each process.

    Raises:
        TextError: if the file is missing, damaged, or of another format version.
    """
    remedy = "reinstall xpm-stream, or build one with `xpm-stream lexicon build`"
    try:
        packed = path.read_bytes() if path else shipped_lexicon()
        text = gzip.decompress(packed).decode("utf-8")
        first, _, body = text.partition("\n")
        header = json.loads(first)
    except OSError as error:
        raise TextError(f"cannot read the lexicon {path or 'of the package'}: {error}; {remedy}") from error
    except (EOFError, zlib.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TextError(f"the lexicon {path or 'of the package'} is damaged ({error}); {remedy}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
        raise TextError(f"the lexicon {path or 'of the package'} is not of format version {FORMAT_VERSION}; {remedy}")
    return _parse(header, body)


def shipped_lexicon() -> bytes:
    """The packed lexicon file of the package."""
    return resources.files("xpm_stream.text").joinpath("data/lexicon.txt.gz").read_bytes()


def _parse(header: dict[str, object], body: str) -> Lexicon:
    singles: dict[str, str] = {}
    phrases: dict[str, list[str]] = {}
    for line in body.splitlines():
        key, _, fields = line.partition("\t")
        first, space, _ = key.partition(" ")
        if space:
            phrases.setdefault(first, []).append(line[len(first) + 1 :])
        else:
            singles[key] = fields
    return Lexicon(header, singles, phrases)
