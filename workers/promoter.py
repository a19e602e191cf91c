"""Judge candidates and promote teachers: `python workers/promoter.py CONFIG` is `xpm-stream promote CONFIG`."""

from __future__ import annotations

import sys

from xpm_stream.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "promote")
    main()
