"""Text to tokens, and the regular plurals of English nouns."""

from __future__ import annotations

import re
import unicodedata

# Punctuation that ends a phrase is a token of its own, so that "hot, dog" is not a hot dog.
_TOKEN = re.compile(r"[^\W_]+|[,.;:!?()|]")

# The detachment rules of WordNet's morphy(7WN) for nouns. The plain "s" comes first: "cookies" is of "cookie", not of
# WordNet's "cooky", while "busses" finds no "busse" and goes on.
_ENDINGS = (
    ("s", ""),
    ("ches", "ch"),
    ("shes", "sh"),
    ("ses", "s"),
    ("ves", "f"),
    ("ves", "fe"),
    ("xes", "x"),
    ("zes", "z"),
    ("men", "man"),
    ("ies", "y"),
)


def tokens_of(text: str) -> list[str]:
    """Lower-case words and phrase-ending punctuation of `text`; accents are dropped ("Jalapeño" -> "jalapeno")."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(character for character in decomposed if not unicodedata.combining(character))
    if "&" in text:
        text = text.replace("&", " and ")
    return _TOKEN.findall(text.lower())


def key_of(text: str) -> str:
    """The form under which the lexicon files a word: its tokens joined by single spaces ("T-shirt" -> "t shirt")."""
    return " ".join(tokens_of(text))


def singulars_of(token: str) -> tuple[str, ...]:
    """What `token` may be the regular plural of, best guess first ("buses" -> "buse", "bus"); () if it is no plural."""
    if len(token) < 4 or token.endswith("ss"):
        return ()
    return tuple(token[: -len(ending)] + stem for ending, stem in _ENDINGS if token.endswith(ending))
