"""Pretrain on caption images: `python workers/pretrainer.py CONFIG` is `xpm-stream pretrain CONFIG`."""

from __future__ import annotations

import sys

from xpm_stream.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "pretrain")
    main()
