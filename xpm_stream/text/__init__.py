"""Words of captions: the WordNet lexicon that ships with the package, and object nouns found with it."""

from xpm_stream.text.caption_nouns import CaptionNouns
from xpm_stream.text.lexicon import Lexicon, load_lexicon

__all__ = ["CaptionNouns", "Lexicon", "load_lexicon"]
