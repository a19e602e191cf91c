"""Exit status 0 if this container's role answers /healthz with 200, else 1 and what is wrong.

The port is $XPM_STREAM_HEALTH_PORT. Only the standard library is used: it runs every half minute.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

PATIENCE_S = 8  # below the healthcheck's own timeout, so that the reason is said


def problem(port: str) -> str | None:
    """What is wrong with the role at that port of this machine; nothing, if it is alive."""
    url = f"http://127.0.0.1:{port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S):
            return None
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code} {error.read(1000).decode(errors='replace').strip()}"
    except OSError as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    wrong = problem(os.environ["XPM_STREAM_HEALTH_PORT"])
    if wrong:
        sys.exit(wrong)
