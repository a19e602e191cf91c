"""What `redis.url` may say, checked before anything connects. No message carries a password."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from xpm_stream.errors import ConfigError

_FILE: Final = "file://"
_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")
_TLS_OPTIONS: Final = (
    *_TLS_FILES,
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_password",
    "ssl_min_version",
    "ssl_ciphers",
)
_OPTIONS: Final = ("db", "username", "password", "client_name", "socket_keepalive", "max_connections")
_CERTIFICATE_CHECKS: Final = ("none", "optional", "required")


def not_a_url() -> ConfigError:
    """The error for what redis-py cannot read; its own message may quote the URL, password included."""
    return ConfigError(
        "redis.url is not a Redis URL; write redis://user:password@host:port/db and percent-encode the password"
    )


def read_url(setting: str) -> str:
    """The URL itself, or what the file holds that a `file:///PATH` names.

    So secrets of Docker and Kubernetes are files, and no configuration, saved copy or process list holds a password.

    Raises:
        ConfigError: the file cannot be read, or holds nothing.
    """
    if not setting.startswith(_FILE):
        return setting
    path = Path(setting.removeprefix(_FILE))
    try:
        url = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not a text"
        raise ConfigError(f"redis.url names the file {path}, which cannot be read: {why}") from error
    if not url:
        raise ConfigError(f"redis.url names the file {path}, which is empty: write redis://user:password@host:port/db")
    return url


def check_url(url: str) -> None:
    """Finds what would fail later, or mean something else than was meant.

    Raises:
        ConfigError: another scheme; a password with characters that end it; an option that is not one; TLS options on a
            plain connection; a certificate file that is not there.
    """
    if not url.startswith(_SCHEMES):
        raise ConfigError(
            f"redis.url begins with {url.partition(':')[0]!r}; use `embedded`, redis://, rediss://, unix://, "
            "or file:///PATH for a file that holds one"
        )
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise not_a_url() from None
    if "@" in parts.query or parts.fragment:  # behind a ? or # that belongs to the password
        raise not_a_url()
    if parts.scheme != "unix" and not parts.path.strip("/").isdigit() and parts.path.strip("/"):
        raise not_a_url()  # else it would mean database 0
    known = (*_OPTIONS, *_TLS_OPTIONS)
    for name, values in options.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; it may have {', '.join(known)}"
            raise ConfigError(f"redis.url has no option {name!r}{meant}")
        if name in _TLS_OPTIONS and parts.scheme != "rediss":
            raise ConfigError(f"redis.url has {name}, but is not encrypted: begin it with rediss://")
        if name in _TLS_FILES and not Path(values[0]).exists():
            raise ConfigError(f"redis.url: {name} names {values[0]}, which is not there")
    checked = options.get("ssl_cert_reqs", ["required"])[0]
    if checked not in _CERTIFICATE_CHECKS:
        raise ConfigError(f"redis.url: ssl_cert_reqs is {checked!r}; it may be {', '.join(_CERTIFICATE_CHECKS)}")
