"""Metrics, logs, pictures and reports. No torch."""
