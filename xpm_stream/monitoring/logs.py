"""Structured logs: readable on a terminal, JSON lines otherwise and in the run folder, never a password."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from xpm_stream.config.queue_sections import LogsConfig
from xpm_stream.errors import ConfigError
from xpm_stream.monitoring.log_files import LogFile, OutputFile, Rotation, is_output

Level = Literal["debug", "info", "warning", "error"]

# Everything up to the last @ before a space or quote: passwords may hold / and @ unescaped.
_URL_PASSWORD: Final = re.compile(r"(\w://[^\s:@/\"'?#]*:)[^\s\"']+@")
# Not every "token": leases have fencing tokens, which are no secret.
_SECRET_NAME: Final = r"password|passwd|secret|authorization|(?:access|auth|api|session)_(?:key|token)"
_SECRET_KEY: Final = re.compile(_SECRET_NAME, re.IGNORECASE)
_SECRET_FIELD: Final = re.compile(
    rf"""((?:(?:{_SECRET_NAME})["']?\s*[=:]|requirepass)\s*)(?:"[^"]*"|'[^']*'|[^\s,;&"'}})\]]+)""", re.IGNORECASE
)


def configure_logging(
    role: str,
    *,
    level: Level = "info",
    run_folder: str | Path | None = None,
    console: Literal["auto", "human", "json", "off"] = "auto",
    rotation: Rotation | None = None,
) -> structlog.stdlib.BoundLogger:
    """Set up this process's logging once, at its start, and return its logger.

    Every line carries `role` and `pid`. The console is standard error: `human` when it is a terminal, else `json`.
    With `run_folder`, JSON lines are also appended to `logs/<role>.jsonl` in it. Records of other libraries
    (standard `logging`, warnings) go the same way. Passwords in URLs and fields are masked. That file is rotated;
    so is `logs/<role>.out`, if that is where this process prints.

    Raises:
        ConfigError: the log file cannot be opened.
    """
    if console == "auto":
        console = "human" if sys.stderr.isatty() else "json"
    shared = _shared_processors(role)
    rotation = rotation or Rotation.of(LogsConfig())
    folder = None if run_folder is None else Path(run_folder, "logs")
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    handlers: list[logging.Handler] = []
    if console != "off":
        output = None if folder is None else folder / f"{role}.out"
        ours = output is not None and is_output(output)
        handler = OutputFile(output, rotation=rotation) if output and ours else logging.StreamHandler(sys.stderr)
        handler.setFormatter(_formatter(shared, human=console == "human"))
        handlers.append(handler)
    if folder is not None:
        handlers.append(_file_handler(folder, role, rotation, _formatter(shared, human=False)))
    for new in handlers or [logging.NullHandler()]:
        root.addHandler(new)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("xpm_stream")
    return logger


def mask_secrets(text: str) -> str:
    """Return `text` with the passwords of URLs and of `password=`-like fields replaced by `***`."""
    return _SECRET_FIELD.sub(r"\1***", _URL_PASSWORD.sub(r"\1***@", text))


def _mask_event(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Mask fields, message and traceback before they are rendered."""
    return {key: _mask_value(value, secret=bool(_SECRET_KEY.search(key))) for key, value in event.items()}


def _mask_value(value: object, *, secret: bool) -> object:
    if isinstance(value, Mapping):
        return {key: _mask_value(item, secret=bool(_SECRET_KEY.search(str(key)))) for key, item in value.items()}
    if secret:
        return "***"
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask_value(item, secret=False) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask_secrets(value if isinstance(value, str) else str(value))


def _shared_processors(role: str) -> list[structlog.typing.Processor]:
    pid = os.getpid()

    def add_process(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"role": role, "pid": pid, **event}

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_process,
    ]


def _formatter(shared: list[structlog.typing.Processor], *, human: bool) -> logging.Formatter:
    render: list[structlog.typing.Processor]
    if human:
        render = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    else:
        render = [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer()]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Text without local variables: those would hold passwords that no pattern finds.
            structlog.processors.format_exc_info,
            _mask_event,
            *render,
        ],
    )


def _file_handler(folder: Path, role: str, rotation: Rotation, formatter: logging.Formatter) -> logging.Handler:
    try:
        handler = LogFile(folder, role, rotation=rotation)
    except OSError as error:
        raise ConfigError(f"cannot open log file {folder / role}.jsonl: {error.strerror or error}") from error
    handler.setFormatter(formatter)
    return handler
