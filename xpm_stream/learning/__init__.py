"""Losses, assignment, views: plain functions."""
