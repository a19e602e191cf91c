"""What each method learns, on one corpus: the paper's tables, with several seeds. `python -m benchmarks.quality`."""
