"""Thin entry points, one for each role, for process managers that want a file to run."""
