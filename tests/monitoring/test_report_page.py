"""The report's page: what it says, what it says is missing, what it does with hostile words, and how large it gets."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest
from sample_runs import GATES, START_S, history, scores, window
from standings import entry, report_of, standing

from xpm_stream.monitoring.concerns import Concern
from xpm_stream.monitoring.drift_records import WindowRecord
from xpm_stream.monitoring.report_data import Setting
from xpm_stream.monitoring.report_page import render_report
from xpm_stream.monitoring.report_pictures import MaskPicture, MaskPictures
from xpm_stream.monitoring.standing import Absent

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`"
LARGEST = 3_000_000  # bytes


class Page(HTMLParser):
    """What of a page a test asks for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.named: dict[str, str] = {}
        self.text: list[str] = []
        self._at: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._at = None
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data", "poster"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("data-tile", "data-audit", "data-verdict"):
                self._at = value

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._at is not None:
            self.named[self._at] = data
            self._at = None

    def says(self, what: str) -> bool:
        return what in " ".join(" ".join(self.text).split())


def page_of(**changes: object) -> Page:
    looked = changes.pop("standing", None) or standing()
    return Page(render_report(report_of(looked, **changes)))  # type: ignore[arg-type]


def test_the_key_figures_are_those_of_their_sources() -> None:
    page = page_of(scores=[scores("s3"), scores("other")])
    last = history(90)[-1]
    assert page.named["champion"] == "v3"
    assert page.named["champion AP50"] == "58.2"
    assert page.named["labels/s"] == f"{last.labels_per_second:.1f}"
    assert last.quantiles["reliability"] is not None
    assert page.named["reliability"] == f"{last.quantiles['reliability']['0.5']:.3f}"
    assert page.named["samples trained"] == "900"
    assert page.named["unacked labels"] == "1,234"
    assert page.named["dead letters"] == "0"
    assert page.named["drift brake"] == "off"
    assert page.named["trained"] == "900"
    assert page.says("Healthy: nothing needs a person")


def test_without_an_evaluation_the_champions_gate_gives_its_accuracy() -> None:
    assert page_of().named["champion AP50"] == "47.2"


def test_what_is_missing_is_said_in_its_place_and_never_shown_as_zero() -> None:
    looked = standing(
        windows=Absent("no drift window is recorded"),
        queue=Absent("Redis does not answer"),
        promotions=[],
        champion=None,
    )
    page = page_of(
        standing=looked,
        audit=Absent("no audit is possible: Redis does not answer"),
        training=Absent("the trainer has made no checkpoint yet"),
    )
    for said in (
        "No drift window is recorded.",
        "No audit is possible: Redis does not answer.",
        "No candidate was decided yet.",
        "No checkpoint was evaluated.",
        "Every key is at its default.",
        "the trainer has made no checkpoint yet",
    ):
        assert page.says(said), said
    figures = {name: page.named[name] for name in ("unacked labels", "dead letters", "samples trained", "labels/s")}
    assert set(figures.values()) == {"–"}
    assert page.named["champion"] == "none"


def test_windows_that_nothing_was_judged_in_say_so() -> None:
    unjudged = msgspec.structs.replace(window(1), verdicts=[])
    page = page_of(standing=standing(windows=[unjudged]))
    assert page.says("No window was judged yet")
    assert page.says("No window was compared with a reference yet")
    assert "svg" in page.tags  # reliability is drawn all the same


def test_a_single_window_is_drawn() -> None:
    assert page_of(standing=standing(windows=[window(1, ratio=2.0)])).tags.count("svg") == 4


def test_entries_without_gates_say_so_and_gates_show_value_limit_and_outcome() -> None:
    page = page_of()
    assert page.says("no gates recorded")
    assert page.says("canary agreement 0.04 limit 0.1 fail")
    assert page.says("word entropy limit 0.5 unknown")


def test_what_needs_a_person_is_the_first_thing_said() -> None:
    page = page_of(concerns=[Concern(needs_person=True, what="2 shards could not be read", way_out="look")])
    assert page.says("Look here: 2 shards could not be read.")
    assert not page.says("Healthy")


def test_hostile_words_captions_reasons_and_versions_stay_text() -> None:
    pictures = MaskPictures(
        best=[
            MaskPicture(word=HOSTILE, reliability=0.9, caption=HOSTILE, sample=HOSTILE, masked="data:,", noise="data:,")
        ],
        worst=[],
        num_images=3,
        num_objects=4,
        noise_ends=(0.1, 0.4),
        noise_ramp="data:,",
    )
    hostile_gate = [{"gate": HOSTILE, "outcome": "fail", "value": 1.0, "limit": 2.0, "why": HOSTILE}]
    looked = standing(
        name=HOSTILE,
        windows=[window(number, words=(HOSTILE, "dog"), teacher=HOSTILE, ratio=2.0) for number in range(1, 80)],
        promotions=[entry(1, "promote", gates=hostile_gate, reasons=[HOSTILE], by=HOSTILE, created_at_s=1_790_000_100)],
        champion=1,
    )
    html = render_report(
        report_of(
            looked,
            pictures=pictures,
            settings=[Setting(key="data.shards", value=HOSTILE, default="[]")],
            concerns=[Concern(needs_person=True, what=HOSTILE, way_out=HOSTILE)],
        )
    )
    page = Page(html)
    assert "script" not in page.tags
    assert page.handlers == []
    assert page.says("<script>alert(1)</script>")
    assert all(link.startswith(("data:", "#")) for link in page.links), page.links
    assert re.search(r"<title>[^<]*&lt;script&gt;", html), "hover titles of charts come from outside too"


def test_the_page_needs_nothing_from_elsewhere_and_forbids_it() -> None:
    html = render_report(report_of(standing()))
    page = Page(html)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "script" not in page.tags
    assert "link" in page.tags  # only the icon, which is empty
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_charts_take_the_pages_colours_and_typeface_so_that_dark_mode_reaches_them() -> None:
    html = render_report(report_of(standing(windows=history(90, drift_at=range(30, 40)))))
    charts = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert "var(--blue)" in charts
    assert not re.search(r"#0000\d\d", charts), "a stand-in colour was left"
    assert "font-family" not in charts
    assert "<style" not in charts
    identities = re.findall(r'\bid="([^"]+)"', html)
    assert len(identities) == len(set(identities)), "two charts share an identity"


@pytest.mark.parametrize("ratio", [0.4, 5.0])
def test_ten_thousand_windows_and_as_many_decisions_stay_below_three_megabytes(ratio: float) -> None:
    some = [window(number, ratio=ratio, previous_ratio=ratio, brake=ratio > 1) for number in range(1, 101)]
    records = [
        msgspec.structs.replace(
            some[number % 100], number=number, started_at_s=START_S + 60 * number, ended_at_s=START_S + 60 * number + 60
        )
        for number in range(1, 10_001)
    ]
    decisions = [entry(number, "promote", gates=GATES) for number in range(1, 2001)]
    looked = standing(windows=records, promotions=decisions, champion=2000)
    html = render_report(report_of(looked))
    assert len(html.encode()) < LARGEST
    page = Page(html)
    assert page.says("10,000 windows are drawn as 358 points of up to 28 windows each")
    assert page.says("the 1,800 oldest are left out here")


def test_windows_too_small_to_say_anything_are_left_out_and_counted() -> None:
    def small(number: int) -> WindowRecord:
        return msgspec.structs.replace(window(number, median=0.99, rate=3000.0), num_labels=3)

    page = page_of(standing=standing(windows=[*history(5), small(6)]))
    assert page.says("1 window with fewer than 100 labels left out")
    assert page.named["labels/s"] == f"{history(5)[-1].labels_per_second:.1f}"
    none = page_of(standing=standing(windows=[small(1), small(2)]))
    assert none.says("None of 2 windows holds 100 labels or more.")
    assert none.named["reliability"] == "–"
