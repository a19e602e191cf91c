"""Checkpoints and the promotion log on any fsspec URL. No torch."""
