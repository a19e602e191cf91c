"""Label caption shards with the newest teacher: `python workers/labeler.py CONFIG` is `xpm-stream label CONFIG`."""

from __future__ import annotations

import sys

from xpm_stream.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "label")
    main()
