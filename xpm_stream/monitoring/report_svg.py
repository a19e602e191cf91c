"""A matplotlib figure as SVG that sits inside a page: its colours are the page's, its marks have titles."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "{http://www.w3.org/1999/xlink}href"
# A figure is drawn in stand-in colours, which become the page's variables: so one chart is right in light and in dark.
INK: Final = "#000001"
QUIET: Final = "#000002"
LINE: Final = "#000003"
CARD: Final = "#000004"
BLUE: Final = "#000005"
RED: Final = "#000006"
GREEN: Final = "#000007"
PURPLE: Final = "#000008"
AMBER: Final = "#000009"
_VARIABLES: Final = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    CARD: "var(--card)",
    BLUE: "var(--blue)",
    RED: "var(--red)",
    GREEN: "var(--green)",
    PURPLE: "var(--purple)",
    AMBER: "var(--amber)",
}
_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # text stays text: the page's typeface, searchable, small
    "font.size": 11.0,
    "text.parse_math": False,
    "path.simplify": True,
}


def new_figure(*, width: int, height: int) -> Figure:
    """Return an empty figure of so many CSS pixels."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    FigureCanvasSVG(figure)
    return figure


def inline_svg(figure: Figure, *, name: str, label: str, titles: Mapping[str, str]) -> str:
    """Return the figure as an `<svg>` element.

    Args:
        figure: drawn in the colours of this module.
        name: its own among the charts of a page, so that references inside it meet nobody else's.
        label: what it shows, for who cannot see it.
        titles: what hovering over an artist says, by its gid.
    """
    drawn = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(drawn.getvalue())
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata" or child.find(f"{{{_SVG}}}style") is not None:
            root.remove(child)  # matplotlib's style would reach the whole page
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", label)
    referenced = set(re.findall(r"#([\w.-]+)", " ".join(_references(root))))
    for element in root.iter():
        _adopt(element, referenced=referenced, titles=titles)
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _references(root: ElementTree.Element) -> list[str]:
    return [element.get(key, "") for element in root.iter() for key in (_XLINK, "clip-path", "style")]


def _adopt(element: ElementTree.Element, *, referenced: set[str], titles: Mapping[str, str]) -> None:
    identity = element.get("id")
    if identity is not None and identity in titles:
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = titles[identity]
        element.insert(0, title)
        element.set("class", "mark")
    if identity is not None and identity not in referenced:
        del element.attrib["id"]
    if _XLINK in element.attrib:
        element.set("href", element.attrib.pop(_XLINK))
    style = element.get("style")
    if style is not None:
        style = re.sub(r"\s*font-family:[^;]*;?", "", style)  # the page's
        element.set("style", re.sub(r"#00000[1-9]\b", lambda found: _VARIABLES[found[0]], style))
    if element.tag == f"{{{_SVG}}}path" and "d" in element.attrib:
        element.set("d", " ".join(element.attrib["d"].split()))
    element.tail = None
    if element.text is not None and not element.text.strip():
        element.text = None
