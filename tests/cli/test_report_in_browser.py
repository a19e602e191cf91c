"""The report in a real Chromium, offline: no errors, no requests, no overflow, and the figures of its sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_runs import history, make_run
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from xpm_stream.stages.reporting import write_report

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium with chromedriver here (apt-get install chromium chromium-driver)"
)
OVERFLOWING = """
return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('.hidden')
  && !e.closest('svg') && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(e => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "run"
    records = history(40, drift_at=range(20, 24))
    longest = "a-word-that-nobody-ever-meant-to-be-a-word-" * 3 + "<script>document.title='owned'</script>"
    words = [type(one)(word=longest, mentions=9000, reliability=0.4) for one in records[0].words[:1]]
    fields = {name: getattr(records[0], name) for name in records[0].__struct_fields__}
    make_run(folder, records=[type(records[0])(**fields | {"words": [*words, *records[0].words]}), *records[1:]])
    return write_report(folder, pictures=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        yield driver
    finally:
        driver.quit()


def look(browser: Any, page: Path, *, width: int, scheme: str = "light") -> None:
    scheme_of = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme_of)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())


def test_it_opens_offline_without_an_error_and_without_a_request(browser: Any, page: Path) -> None:
    browser.get_log("performance")
    look(browser, page, width=1280)
    assert browser.get_log("browser") == []
    asked = [
        message["params"]["request"]["url"]
        for message in (json.loads(line["message"])["message"] for line in browser.get_log("performance"))
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert browser.title == "sample · xpm-stream report", "a script of a word ran"


def test_the_figures_in_the_dom_are_those_of_the_sources(browser: Any, page: Path) -> None:
    look(browser, page, width=1280)
    figures = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-tile],[data-audit]')]"
        ".map(e => [e.dataset.tile || e.dataset.audit, e.textContent]))"
    )
    last = history(40)[-1]
    assert last.quantiles["reliability"] is not None
    assert figures == {
        "champion": "v4",
        "champion AP50": "58.2",
        "labels/s": f"{last.labels_per_second:.1f}",
        "reliability": f"{last.quantiles['reliability']['0.5']:.3f}",
        "samples trained": "15",
        "unacked labels": "10",
        "dead letters": "1",
        "drift brake": "off",
        "samples": "30",
        "trained": "15",
        "queued": "10",
        "relabels": "0",
        "skipped": "4",
        "dead": "1",
    }


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(browser: Any, page: Path, tmp_path: Path, width: int) -> None:
    look(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.save_screenshot(str(tmp_path / f"{width}.png"))
    assert (tmp_path / f"{width}.png").stat().st_size > 20_000


@pytest.mark.parametrize(("width", "shown"), [(1280, "wide"), (390, "narrow")])
def test_each_chart_is_drawn_for_the_window_it_is_seen_in(browser: Any, page: Path, width: int, shown: str) -> None:
    look(browser, page, width=width)
    heights = browser.execute_script(
        "const of = name => [...document.querySelectorAll('.chart.' + name + ' svg')]"
        ".map(e => e.getBoundingClientRect().height); return {wide: of('wide'), narrow: of('narrow')}"
    )
    assert len(heights["wide"]) == len(heights["narrow"]) == 2
    assert all((height > 200) == (name == shown) for name, drawn in heights.items() for height in drawn), heights
    smallest = browser.execute_script(
        "return Math.min(...[...document.querySelectorAll('.chart." + shown + " svg text')]"
        ".map(e => e.getBoundingClientRect().height))"
    )
    assert smallest >= 9, "text of a chart is too small to read"


def test_dark_mode_reaches_page_and_charts(browser: Any, page: Path) -> None:
    colours = []
    for scheme in ("light", "dark"):
        look(browser, page, width=1280, scheme=scheme)
        colours.append(
            browser.execute_script(
                "const of = (e, name) => getComputedStyle(e)[name];"
                "return [of(document.body, 'backgroundColor'),"
                " of(document.querySelector('.chart.wide svg text'), 'fill')]"
            )
        )
    light, dark = colours
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_marks_of_drift_and_promotions_say_what_they_are(browser: Any, page: Path) -> None:
    look(browser, page, width=1280)
    titles = browser.execute_script("return [...document.querySelectorAll('svg title')].map(e => e.textContent)")
    assert any(
        title.startswith("windows 20 to 23: drift against frozen, previous_teacher; cause: teacher") for title in titles
    )
    assert any("refuse v3, step 1,000: canary_agreement 0.04 is below 0.1" in title for title in titles)


def test_it_prints(browser: Any, page: Path) -> None:
    look(browser, page, width=1280)
    assert len(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 50_000
