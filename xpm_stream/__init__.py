"""Streaming, continual self-training for open-vocabulary segmentation."""

__version__ = "0.1.0"
