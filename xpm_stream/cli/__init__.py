"""The `xpm-stream` command: parses, calls a stage, prints."""
