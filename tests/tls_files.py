"""Certificate authorities and certificates for tests, by the commands of docs/security.md."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(*arguments: object, folder: Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True, timeout=30)


def make_authority(folder: Path, name: str) -> Path:
    """A certificate authority's `NAME.pem` and `NAME.key`."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-days", 2, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
            folder=folder)  # fmt: skip
    return folder / f"{name}.pem"


def make_certificate(folder: Path, name: str, *, authority: str) -> None:
    """`NAME.pem` and `NAME.key` for localhost, signed by the authority."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", folder=folder)
    (folder / "hosts").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", 2, "-extfile", "hosts", "-out", f"{name}.pem", folder=folder)  # fmt: skip
