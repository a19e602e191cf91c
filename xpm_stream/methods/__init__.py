"""The methods, found in one visible lazy table: nothing is imported until a method is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from xpm_stream.errors import ConfigError

if TYPE_CHECKING:
    from xpm_stream.methods.base import Method

METHODS = {
    "xpm": "xpm_stream.methods.xpm:Xpm",
    "soft_teacher": "xpm_stream.methods.soft_teacher:SoftTeacher",
    "unbiased_teacher": "xpm_stream.methods.unbiased_teacher:UnbiasedTeacher",
    "cap2det": "xpm_stream.methods.cap2det:Cap2Det",
    "ovr": "xpm_stream.methods.ovr:Ovr",
    "sb": "xpm_stream.methods.sb:Sb",
    "ba_rpn": "xpm_stream.methods.ba_rpn:BaRpn",
    "omp": "xpm_stream.methods.omp:Omp",
}


# These learn from captions in pretraining and beside detection only: there are no labels to stream.
WITHOUT_LABELER = frozenset({"ovr", "sb", "ba_rpn", "omp"})


def require_labeler(name: str) -> None:
    """Check, without importing it, that the method called `name` labels caption images.

    Raises:
        ConfigError: it does not, so that there is nothing to stream.
    """
    if name in WITHOUT_LABELER:
        raise ConfigError(
            f"method {name!r} has no labeler: it makes no pseudo labels, so there is nothing to stream. Run "
            "`xpm-stream pretrain` and `xpm-stream teach`, and judge the teacher with `xpm-stream evaluate`"
        )


def find_method(name: str) -> type[Method]:
    """Return the class of the method called `name`, or at `package.module:Class`.

    Raises:
        ConfigError: there is no such method; the nearest name is suggested.
    """
    if name not in METHODS and ":" not in name:
        nearest = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(
            f"unknown method {name!r}{hint} (known: {', '.join(METHODS)}; one of your own is package.module:Class)"
        )
    module_name, _, class_name = METHODS.get(name, name).partition(":")
    try:
        method: type[Method] = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"method {name!r} cannot be imported ({error}): is its package installed?") from error
    return method
