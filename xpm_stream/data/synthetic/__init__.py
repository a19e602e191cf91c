"""The built-in synthetic corpus: scenes drawn by our own code, with exact masks and natural captions.

`write_corpus` writes a base set and a held-out set in COCO instance format and caption shards in WebDataset format;
everything follows from a `SyntheticConfig` and a seed.
"""

from xpm_stream.data.synthetic.corpus_config import PRESETS, SyntheticConfig, preset_config
from xpm_stream.data.synthetic.corpus_paths import CorpusPaths
from xpm_stream.data.synthetic.truth import Truth, read_truth
from xpm_stream.data.synthetic.writing import write_corpus

__all__ = ["PRESETS", "CorpusPaths", "SyntheticConfig", "Truth", "preset_config", "read_truth", "write_corpus"]
