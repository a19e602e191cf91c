"""Our own list of words, `data/own_words.txt`: it has the last word over WordNet when the lexicon is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources

from xpm_stream.errors import TextError
from xpm_stream.text.lexicon import IMAGE_FLAG, MODIFIER_FLAG, SPORT_FLAG, VERB_FLAG
from xpm_stream.text.words import key_of

_FLAG_SECTIONS = {"verb": VERB_FLAG, "modifier": MODIFIER_FLAG, "image": IMAGE_FLAG, "sport": SPORT_FLAG}


@dataclass(slots=True)
class OwnWords:
    """The sections of `data/own_words.txt`."""

    accept: dict[str, str] = field(default_factory=dict)
    """Key -> canonical surface."""
    refuse: set[str] = field(default_factory=set)
    spellings: dict[str, str] = field(default_factory=dict)
    """Key -> canonical surface of another word."""
    flags: dict[str, str] = field(default_factory=dict)
    """Key -> the flags to use instead of computed ones."""


def read_own_words(text: str | None = None) -> OwnWords:
    """Read the package's own list, or `text` in the same format.

    Raises:
        TextError: on a line outside a known section.
    """
    if text is None:
        text = resources.files("xpm_stream.text").joinpath("data/own_words.txt").read_text(encoding="utf-8")
    own, section = OwnWords(), ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        words = [word.strip() for word in line.split(",") if word.strip()]
        for word in words:
            _file_own_word(own, section, word, number)
    return own


def _file_own_word(own: OwnWords, section: str, word: str, number: int) -> None:
    if section in ("accept", "class names"):
        own.accept[key_of(word)] = word
        own.flags.setdefault(key_of(word), "")
    elif section == "refuse":
        own.refuse.add(key_of(word))
    elif section == "spelling":
        other, _, canonical = word.partition("=")
        own.spellings[key_of(other)] = canonical.strip()
    elif section in _FLAG_SECTIONS:
        own.flags[key_of(word)] = "".join(sorted({*own.flags.get(key_of(word), ""), _FLAG_SECTIONS[section]}))
    elif section == "plain":
        own.flags[key_of(word)] = ""
    else:
        raise TextError(f"own_words.txt, line {number}: {word!r} is in no known section ({section!r})")
