"""repro.parity.page and page.html, in a browser that has no network."""

from __future__ import annotations

import math
import os
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from repro.parity.comparison import Verdict
from repro.parity.page import render_page
from repro.parity.record import ProfilePoint, Record

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!--<script>/%2F#&amp;"
VERSIONS = {"torch": "2.0", "paddle": "3.0", HOSTILE: HOSTILE}
FAMILIES = {"small_net": "small", "small_net_wide": "small", "big_net": "big", HOSTILE: HOSTILE}
RUNGS = {0: "structure", 1: "eval"}
STAGES = ("stem", "stages.0", "stages.1, float64", "logits")
# The error of each stage, at two sizes: 0, rounding, rounding in float64, above the tolerance or not a number
ERRORS: tuple[float | None, ...] = (0.0, 1.23456e-7, 1e-10, 5e-4, 0.0, 2e-7, 2e-10, None)


def record(model: str, rung: int, backend: str) -> Record:
    diverges = (model, rung, backend) in {("small_net", 1, "paddle"), (HOSTILE, 1, HOSTILE)}
    profile: list[ProfilePoint] = [
        (f"{stage} ({size})", error if diverges or stage != "logits" else 1e-6, 1e-9 if "float64" in stage else 1e-5)
        for (size, stage), error in zip(((s, t) for s in ("64x64", "65x47") for t in STAGES), ERRORS, strict=True)
    ]
    verdict: Verdict = "diverges" if diverges else "rounding" if rung else "equal"
    where = HOSTILE if model == HOSTILE else "logits (64x64)"
    error = 5e-4 if diverges else 2.249e-6 if rung else 0.0
    return Record(
        model, rung, backend, "torch float64", verdict, error, 1e-5, where, f"off {where}", profile if rung else []
    )


RECORDS = [record(model, rung, backend) for model in FAMILIES for rung in RUNGS for backend in VERSIONS]


def html(records: list[Record]) -> str:
    return render_page(
        records, RUNGS, VERSIONS, FAMILIES, "24 comparisons, 2 diverge, in 3 s", f"repro parity {HOSTILE}"
    )


@pytest.fixture(scope="module")
def browser(chromium: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless browser for all tests of this module."""
    options = webdriver.ChromeOptions()
    options.binary_location, driver = chromium
    for flag in (
        "--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", *["--no-sandbox"] * (os.geteuid() == 0),
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


class Page:
    """The page in the browser."""

    def __init__(self, browser: webdriver.Chrome, path: Path):
        self.browser, self.address = browser, path.as_uri()

    def open(self, place: str = "", width: int = 1200) -> None:
        """Open the page. place: the part of the address that starts with #."""
        network = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Network.enable", {})
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", network)
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.browser.get("about:blank")  # otherwise another place would not load the page again
        self.browser.get(self.address + place)

    def __call__(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(f"return {script}", *arguments)

    def text(self, name: str) -> str:
        return self(f"document.getElementById('{name}').textContent")

    def wait(self, script: str) -> None:
        WebDriverWait(self.browser, 20, 0.05).until(lambda _: self(script), script)

    def cells(self, row: str, kind: str = "td") -> list[Any]:
        """The cells of the visible row of a variant."""
        rows = self.browser.find_elements(By.CSS_SELECTOR, "#matrix tbody tr:has(th.name)")
        visible = [element for element in rows if element.is_displayed()]
        matches = [element for element in visible if element.find_element(By.CSS_SELECTOR, "th").text == row]
        return matches[0].find_elements(By.CSS_SELECTOR, kind) if matches else []

    def points(self, kind: str) -> int:
        """The number of points of a kind in the plot."""
        return self(f"(document.querySelector('#plot .{kind}')?.getAttribute('d').match(/M/g) ?? []).length")


@pytest.fixture
def shown(browser: webdriver.Chrome, tmp_path: Path) -> Page:
    """The page of RECORDS, opened."""
    path = tmp_path / "page.html"
    path.write_text(html(RECORDS), encoding="utf-8")
    page = Page(browser, path)
    page.open()
    return page


def test_the_table_has_every_verdict(shown: Page) -> None:
    assert shown("[...document.querySelectorAll('tbody th.name')].map(th => th.textContent)") == list(FAMILIES)
    assert shown("[...document.querySelectorAll('tbody th.family')].map(th => th.textContent)") == [
        "small 2", "big 1", f"{HOSTILE} 1"
    ]  # fmt: skip
    classes = [cell.get_attribute("class").split()[0] for cell in shown.cells("small_net")]
    assert classes == ["equal"] * 3 + ["rounding", "diverges", "rounding"]
    assert [cell.text for cell in shown.cells("small_net")] == ["=", "=", "=", "22", "✗", "22"]
    assert shown("document.querySelectorAll('td').length") == len(RECORDS)
    assert shown.text("summary") == "24 comparisons, 2 diverge, in 3 s"
    assert "torch 2.0" in shown.text("about")
    assert shown("performance.getEntriesByType('resource').length") == 0
    assert shown.browser.get_log("browser") == []


def test_a_divergence_is_explained_and_drawn(shown: Page) -> None:
    shown.cells("small_net")[3].click()
    shown.wait("document.getElementById('cell').textContent === 'small_net · 1 eval · torch'")
    shown.wait("document.querySelector('#plot .over') === null && document.querySelector('#plot .float32') !== null")
    shown.cells("small_net")[4].click()
    shown.wait("document.querySelector('#plot .over') !== null")
    assert shown("location.hash") == "#small_net/1/paddle"
    assert shown.text("sentence") == RECORDS[4].sentence
    assert "first diverges from torch float64 at logits (64x64)" in shown.text("sentence")
    assert (shown.points("float32"), shown.points("float64"), shown.points("over")) == (4, 2, 2)
    assert shown.points("tolerance") == len(ERRORS)
    assert shown("[...document.querySelectorAll('#plot text')].map(text => text.textContent)")[:2] == ["64x64", "65x47"]
    assert shown.text("readout") == (
        "logits (64x64) — 4 of 8: error 5.00e-4, tolerance 1.00e-5 (50.0 times the tolerance)"
    )  # the first error above its tolerance
    assert "NaN" not in shown("document.getElementById('plot').outerHTML")


def test_the_pointer_and_the_arrow_keys_select_a_point(shown: Page) -> None:
    shown.open("#small_net/1/paddle")
    shown.wait("document.querySelector('#plot .over') !== null")
    plot = shown.browser.find_element(By.ID, "plot")
    ActionChains(shown.browser).move_to_element_with_offset(plot, -plot.size["width"] // 2 + 60, 0).perform()
    assert shown.text("readout").startswith("stem (64x64) — 1 of 8: error 0, tolerance 1.00e-5")
    plot.send_keys(Keys.ARROW_RIGHT)
    assert shown.text("readout").startswith("stages.0 (64x64) — 2 of 8: error 1.23e-7")
    plot.send_keys(Keys.END)
    assert shown.text("readout").startswith("logits (65x47) — 8 of 8: error n/a")


def test_filter(shown: Page) -> None:
    box = shown.browser.find_element(By.ID, "filter")
    rows = "[...document.querySelectorAll('tbody tr')].filter(row => row.offsetParent)"
    visible = f"{rows}.map(row => row.cells[0].textContent)"
    box.send_keys("SMALL wide")
    assert shown(visible) == ["small 2", "small_net_wide"]
    assert shown.text("shown") == "1 of 4 variants"
    box.send_keys("x")
    assert shown(visible) == []
    assert shown.browser.find_element(By.ID, "empty").is_displayed()
    box.clear()
    shown.browser.find_element(By.ID, "only").click()
    assert shown(visible) == ["small 2", "small_net", f"{HOSTILE} 1", HOSTILE]


def test_the_keyboard_opens_a_cell(shown: Page) -> None:
    shown.wait("document.querySelector('#plot .over') !== null")  # the page opens with the first divergence
    shown.browser.find_element(By.ID, "only").send_keys(Keys.TAB)
    keyboard = ActionChains(shown.browser)
    keyboard.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ENTER).perform()
    shown.wait("document.getElementById('cell').textContent === 'big_net · 1 eval · torch'")
    assert shown("document.activeElement.getAttribute('aria-label')") == (
        "big_net, rung 1 eval, torch: rounding, 22 % of the tolerance"
    )


@pytest.mark.parametrize(
    "place", ["", "#small_net/1/paddle", "#" + "/".join([quote(HOSTILE, ""), "1", quote(HOSTILE, "")])]
)
def test_the_page_fits_a_phone(place: str, shown: Page) -> None:
    shown.open(place, width=390)
    shown.wait("document.querySelector('#plot .over') !== null")
    assert shown("innerWidth") == 390
    assert shown("document.documentElement.scrollWidth") == 390
    box, panel = (shown.browser.find_element(By.ID, name) for name in ("box", "panel"))
    assert shown("arguments[0].scrollWidth > arguments[0].clientWidth", box)  # only the table scrolls
    assert panel.rect["y"] >= box.rect["y"] + box.rect["height"]


def test_hostile_names_are_shown_as_text(shown: Page) -> None:
    shown.open("#" + "/".join([quote(HOSTILE, ""), "1", quote(HOSTILE, "")]))
    shown.wait("document.querySelector('#plot .over') !== null")
    assert shown.text("cell") == f"{HOSTILE} · 1 eval · {HOSTILE}"
    assert shown.text("sentence").endswith(f"at {HOSTILE}: off {HOSTILE}")
    assert HOSTILE in shown.text("about")
    assert shown("document.querySelectorAll('img').length") == 0
    assert shown("document.title") != "owned"
    assert shown.browser.get_log("browser") == []


def test_an_invalid_address_opens_the_first_divergence(shown: Page) -> None:
    for place in ("#nothing", "#small_net/9/torch", "#%E0%A4%A", "#//"):
        shown.open(place)
        shown.wait("document.getElementById('cell').textContent === 'small_net · 1 eval · paddle'")
    assert shown.browser.get_log("browser") == []


def test_numbers_that_are_not_finite_become_null() -> None:
    """NaN and infinity are not JSON."""
    profile: list[ProfilePoint] = [("stem", math.nan, math.inf), ("logits", math.inf, 0.0)]
    odd = Record("big_net", 1, "torch", "", "diverges", math.nan, math.inf, "", "it failed", profile)
    text = html([odd])
    assert '["diverges",null,null,null,"big_net, rung 1: it failed"]' in text
    packed = max(re.findall(r'"packed":"([^"]*)"', text), key=len)
    assert zlib.decompress(b64decode(packed)) == (
        b'{"points":[["stem",null],["logits",0.0]],"profiles":{"1/torch":[[0,1],[null,null]]}}'
    )


def test_a_cell_shows_the_worst_seed() -> None:
    again = [record("small_net", 1, "paddle"), record("big_net", 1, "paddle")]
    other = Record("big_net", 1, "paddle", "torch float64", "rounding", 9e-6, 1e-5, "stem", "of seed 1")
    assert '"1/paddle":["rounding",0.9,9e-06,1e-05,' in html([*again, other])


def test_a_point_takes_less_than_eight_bytes() -> None:
    names = [f"step {step}: stages.{i}.project.conv.weight" for step in (1, 5) for i in range(1000)]
    profile: list[ProfilePoint] = [
        (name, 1.234567e-9 * (7 * i % 1000), 1e-6 + 1e-9 * i) for i, name in enumerate(names)
    ]
    records = [Record("big_net", 1, name, "", "rounding", 0.0, 1.0, "", "", profile) for name in ("torch", "paddle")]
    assert len(html(records)) - len(html([])) < 8 * len(names) * len(records)
