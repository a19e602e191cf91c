"""Watch the label stream for drift: `python workers/drift_monitor.py CONFIG` is `xpm-stream watch CONFIG`."""

from __future__ import annotations

import sys

from xpm_stream.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "watch")
    main()
