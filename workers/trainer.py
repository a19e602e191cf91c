"""Train the student on the label stream: `python workers/trainer.py CONFIG` is `xpm-stream train CONFIG`."""

from __future__ import annotations

import sys

from xpm_stream.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
