"""Judging a model on annotated images."""
