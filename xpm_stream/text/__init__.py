"""Captions to object nouns. No torch."""
