"""The report as its readers meet it: in a browser, from disk, by mouse, by keys and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from trackline.evaluation import report
from trackline.evaluation.report import Inputs

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH; install one, or name it in CHROMIUM"
)
PATIENCE_MS = 180_000  # a shared machine may need long for the 4.6 MB of plotly


class Reader:
    """An opened page, and what it said and asked for while it was read."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        self.page = context.new_page()
        self.page.on("console", lambda said: self._note(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(address)
        self.page.wait_for_function("document.querySelectorAll('.main-svg').length > 0")

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # containers forbid the sandbox of a root user; nothing but our own page is opened
        flags = ["--no-sandbox", "--disable-gpu"]
        found = driver.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=PATIENCE_MS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(report_inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("browser") / "reports/index.html"
    report.write_report(out, report_inputs)
    return out.as_uri()


@pytest.fixture(scope="module")
def desktop(browser: Any, address: str) -> Reader:
    return Reader(browser, address, viewport={"width": 1280, "height": 900}, color_scheme="dark")


@pytest.fixture(scope="module")
def phone(browser: Any, address: str) -> Reader:
    return Reader(browser, address, viewport={"width": 390, "height": 844}, is_mobile=True)


@pytest.fixture
def page(desktop: Reader) -> Any:
    return desktop.page


@pytest.mark.parametrize("screen", ["desktop", "phone"])
def test_it_opens_without_an_error_and_fits_its_screen(
    screen: str, request: pytest.FixtureRequest
) -> None:
    reader = request.getfixturevalue(screen)
    ids = "[...document.querySelectorAll('.js-plotly-plot')].map((chart) => chart.id)"
    charts = reader.page.evaluate(ids)
    assert len(charts) == 8
    for chart in charts:
        box = reader.page.locator(f"#{chart} .main-svg").first.bounding_box()
        assert box["width"] > 200, chart
        assert box["height"] > 150, chart
    content, shown = reader.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert content <= shown
    assert reader.complaints == []


def test_charts_follow_the_scheme(page: Any) -> None:
    ink = "getComputedStyle(document.querySelector('#chart-success .xtick text')).fill"
    dark = page.evaluate(ink)
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{ink} !== '{dark}'")


def test_a_player_plays_and_pauses(page: Any) -> None:
    player = page.locator("[data-strip='0']")
    button, slider = player.get_by_role("button"), player.get_by_role("slider")
    before = slider.input_value()
    button.click()
    page.wait_for_function(
        f"document.querySelector('[data-strip=\"0\"] input').value !== '{before}'"
    )
    assert button.get_attribute("aria-label").startswith("Pause ")
    button.click()
    assert button.get_attribute("aria-label").startswith("Play ")
    stopped = slider.input_value()
    page.wait_for_timeout(300)
    assert slider.input_value() == stopped


def test_arrow_keys_step_through_the_frames(page: Any) -> None:
    player = page.locator("[data-strip='0']")
    slider, image = player.get_by_role("slider"), player.locator("img")
    slider.focus()
    page.keyboard.press("Home")
    first = image.get_attribute("src"), player.locator("rect.guess").get_attribute("x")
    assert "the box is given" in player.locator("output").inner_text()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext").startswith("frame 1 of ")
    assert "overlap" in player.locator("output").inner_text()
    assert (image.get_attribute("src"), player.locator("rect.guess").get_attribute("x")) != first


def test_the_class_is_shown_over_time(page: Any) -> None:
    drawn = (
        "[...document.querySelectorAll('.named path')].filter((p) => p.getAttribute('d')).length"
    )
    assert page.evaluate(drawn) > 0


def read_column(table: Any, column: int) -> list[float]:
    cells = table.locator(f"tbody tr > :nth-child({column})").all()
    return [float(text) for cell in cells if (text := cell.get_attribute("data-sort"))]


def test_tables_sort_by_number_both_ways_and_by_keys(page: Any) -> None:
    page.get_by_text("sequences as a table").click()
    table = page.get_by_role("region", name="Sequences").get_by_role("table")
    assert read_column(table, 5) == sorted(read_column(table, 5))
    overlap = table.get_by_role("button", name="Overlap")
    overlap.focus()
    page.keyboard.press("Enter")
    assert read_column(table, 5) == sorted(read_column(table, 5), reverse=True)
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    overlap.click()
    assert read_column(table, 5) == sorted(read_column(table, 5))
    table.get_by_role("button", name="Class").click()
    names = [cell.inner_text() for cell in table.locator("tbody tr > :nth-child(2)").all()]
    assert names == sorted(names)


def test_gates_without_a_number_sort_last(page: Any) -> None:
    gates = page.locator("table.gates")
    value = gates.get_by_role("button", name="Value")
    for _ in ("ascending", "descending"):
        value.click()
        assert gates.locator("tbody tr").last.locator("td").first.get_attribute("data-sort") is None


NAMELESS = """
    [...document.querySelectorAll("button, input, img, [role=img], [role=region], nav, a")]
        .filter((node) => !(node.getAttribute("aria-label") || node.alt || node.textContent.trim()))
        .map((node) => node.outerHTML)
"""
DANGLING = """
    [...document.querySelectorAll("nav a[href^='#']")]
        .filter((link) => !document.querySelector(link.hash)).map((link) => link.hash)
"""


def test_it_makes_sense_to_a_screen_reader(page: Any) -> None:
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(DANGLING) == []


def test_everything_is_reached_by_tab_and_shows_it(page: Any) -> None:
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.tagName + (document.activeElement.type || '')")
        )
    assert {"A", "BUTTONbutton", "INPUTrange", "SUMMARY"} <= reached
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_nothing_was_loaded_and_nothing_went_wrong(desktop: Reader) -> None:
    """Last: after all that the tests above have clicked."""
    assert desktop.complaints == []
    assert {url.partition(":")[0] for url in desktop.requests} <= {"file", "data", "blob"}
