"""`bench report` in a browser: no request, tables sort and search, maps show; on a phone, by keyboard, in the dark."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")

CONTRAST = """() => {
  // Text and what lies behind it, as WCAG 2 counts contrast.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [1, 1, 1, 1];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const style = getComputedStyle(element);
    const unseen = !texts.currentNode.data.trim() || !element.getClientRects().length;
    if (unseen || element.closest(".heatmap-label, script")) continue;
    const svg = element instanceof SVGElement;
    const [a, b] = [light(rgba(svg ? style.fill : style.color)), light(behind(element))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), texts.currentNode.data.trim().slice(0, 40), svg]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def page_file(showcase, tmp_path_factory) -> Path:
    from bench.commands.report import write_report

    path: Path = tmp_path_factory.mktemp("page") / "new" / "report.html"
    write_report(showcase.folder, path, images=4)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page and whatever it complained of or asked for."""

    def __init__(self, browser, path: Path, **settings) -> None:
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.context.route("**/*", self._met)
        self.page.goto(path.as_uri())
        self.scroll()

    def _met(self, route) -> None:
        self.requests.append(route.request.url)
        route.continue_()

    def scroll(self) -> None:
        """Past everything, so that all plots are drawn."""
        for figure in self.page.query_selector_all(".plot"):
            figure.scroll_into_view_if_needed()
        self.page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 5")


@pytest.fixture(scope="module")
def desk(browser, page_file) -> Iterator[Watched]:
    watched = Watched(browser, page_file, viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield watched
    watched.context.close()


@pytest.fixture(scope="module")
def phone(browser, page_file) -> Iterator[Watched]:
    watched = Watched(browser, page_file, viewport={"width": 380, "height": 800}, color_scheme="dark")
    yield watched
    watched.context.close()


def _column(page, table: str, at: int) -> list[str]:
    """What stands in a column, without intervals and marks; controls left out."""
    return page.eval_on_selector_all(
        f"{table} tbody:first-of-type tr > :nth-child({at + 1})",
        "cells => cells.map(cell => (cell.querySelector('.value') ?? cell).textContent)",
    )


def _sorted(page, table: str, at: int, direction: str) -> None:
    """Wait until the column is said to be sorted so: it is drawn a moment after the click."""
    page.wait_for_selector(f"{table} thead th:nth-child({at + 1})[aria-sort={direction}]", timeout=2000)


@pytest.mark.parametrize("kind", ["desk", "phone"])
def test_nothing_is_asked_for_and_nothing_complains(request, page_file, kind):
    watched = request.getfixturevalue(kind)
    asked = [url for url in watched.requests if not url.startswith("data:")]
    assert asked == [page_file.as_uri()]
    assert watched.complaints == []


def test_the_policy_stops_scripts_and_requests_of_others(browser, page_file):
    """What the page must never do, done to it."""
    watched = Watched(browser, page_file)
    watched.page.evaluate(
        """() => {
          document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.stolen = 1'>");
          const script = document.createElement("script");
          script.textContent = "window.stolen = 2";
          document.body.append(script);
          return fetch("https://example.org/").catch(() => null);
        }"""
    )
    watched.page.wait_for_timeout(100)
    assert watched.page.evaluate("window.stolen") is None
    assert [url for url in watched.requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert any("Content Security Policy" in complaint for complaint in watched.complaints)
    watched.context.close()


def test_hostile_names_are_shown_as_text(desk, showcase):
    heads = desk.page.eval_on_selector_all("#leaderboard-table tbody th", "all => all.map(one => one.textContent)")
    assert showcase.HOSTILE in heads
    labels = desk.page.eval_on_selector_all(".plot text", "all => all.map(one => one.textContent)")
    assert showcase.HOSTILE in labels
    assert showcase.HOSTILE_METRIC in labels
    desk.page.locator("#scores input[type=search]").fill("onerror")
    cells = desk.page.eval_on_selector_all(
        "#scores-table tbody tr", "all => all.map(one => one.children[2].textContent)"
    )
    desk.page.locator("#scores input[type=search]").fill("")
    assert set(cells) == {f"{showcase.HOSTILE_METRIC} ↑"}
    assert desk.page.evaluate("document.querySelectorAll('img[src=x], main script').length") == 0
    assert desk.complaints == []


def test_a_table_sorts_and_keeps_the_controls_below(desk):
    page = desk.page
    heading = page.locator("#leaderboard-table thead th").nth(2)
    before = [float(value) for value in _column(page, "#leaderboard-table", 2)]
    heading.click()
    _sorted(page, "#leaderboard-table", 2, "ascending")
    assert [float(value) for value in _column(page, "#leaderboard-table", 2)] == sorted(before)
    heading.click()
    _sorted(page, "#leaderboard-table", 2, "descending")
    assert [float(value) for value in _column(page, "#leaderboard-table", 2)] == sorted(before, reverse=True)
    rows = page.locator("#leaderboard-table tbody tr").all_text_contents()
    rows = ["control" in row for row in rows]
    assert rows == [False] * 4 + [True] * 2


def test_a_table_is_searched_and_the_controls_stay(desk):
    page = desk.page
    search = page.locator("#leaderboard input[type=search]")
    search.fill("fair")
    shown = page.eval_on_selector_all("#leaderboard-table tbody th", "all => all.map(one => one.textContent.trim())")
    search.fill("")
    assert shown == ["fair", "center control", "noise control"]
    assert page.locator("#leaderboard-table tbody tr").count() == 6


def test_the_list_of_all_scores_is_cut_and_turned(desk, showcase):
    page = desk.page
    told = page.locator("#scores output")
    n = len(showcase.TASKS) * len(showcase.EXPLAINERS) * len(showcase.METRICS)
    assert told.text_content() == f"1 to 25 of {n}"
    page.locator("#scores button", has_text="Next").click()
    assert told.text_content() == f"26 to 50 of {n}"
    page.locator("#scores-cut select").nth(3).select_option("good")
    assert told.text_content() == "1 to 14 of 14"
    page.locator("#scores-cut select").nth(2).select_option("rotation ↑")
    assert set(_column(page, "#scores-table", 2)) == {"rotation ↑"}
    assert told.text_content() == "1 to 2 of 2"
    for at in (2, 3):
        page.locator("#scores-cut select").nth(at).select_option("")
    assert told.text_content() == f"1 to 25 of {n}"


def test_a_task_unfolds_with_tables_that_sort(desk):
    page = desk.page
    page.locator("#task-1 > summary").click()
    page.locator("#task-1-1 thead th").nth(1).click()
    # Deletion, first by name: lower is better, so the lowest come first; who has no score comes last.
    _sorted(page, "#task-1-1", 1, "ascending")
    *values, missing = _column(page, "#task-1-1", 1)
    assert missing == "failed"
    assert list(map(float, values)) == sorted(map(float, values))
    page.locator("#task-1-1 thead th").nth(2).click()
    _sorted(page, "#task-1-1", 2, "descending")
    page.locator("#task-1 > summary").click()


def test_the_gallery_shows_maps_and_can_be_cut(desk):
    page = desk.page
    pictures = page.locator(".tiles img")
    assert pictures.count() == 4 * 3
    assert page.evaluate(
        "[...document.querySelectorAll('.tiles img')].every(one => one.complete && one.naturalWidth > 0)"
    )
    edge = page.locator(".tile .edge").first
    assert edge.bounding_box()["width"] > 50
    assert page.evaluate("document.querySelector('.tile .over').getBoundingClientRect().width") > 10
    page.locator("select[name=outcome]").select_option("false positive")
    assert page.locator(".exhibit:visible").count() == 1
    assert page.locator("#gallery output").text_content() == "1 image"
    page.locator("select[name=outcome]").select_option("false negative")
    assert page.locator(".exhibit:visible").count() == 0
    page.locator("select[name=outcome]").select_option("")
    page.locator("input[name=outline]").uncheck()
    assert not edge.is_visible()
    page.locator("input[name=outline]").check()


def test_a_plot_changes_its_view(desk):
    page = desk.page
    figure = page.locator("[data-plot=pareto]")
    before = figure.locator(".main-svg").first.inner_html()
    figure.locator("select").select_option(label="robustness")
    page.wait_for_timeout(100)
    assert figure.locator(".main-svg").first.inner_html() != before


@pytest.mark.parametrize("kind", ["desk", "phone"])
def test_the_page_does_not_scroll_sideways(request, kind):
    page = request.getfixturevalue(kind).page
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    width, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false; })")
    assert width <= room


@pytest.mark.parametrize("kind", ["desk", "phone"])
def test_text_stands_out_from_what_is_behind_it(request, kind):
    page = request.getfixturevalue(kind).page
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = page.evaluate(CONTRAST)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false; })")
    assert len(found) > 500
    assert any(svg for _, _, svg in found)
    assert [(text, round(ratio, 2)) for ratio, text, _ in found if ratio < 4.5] == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background))) < 64) == (kind == "phone")


def test_the_keyboard_reaches_the_content_and_sorts(browser, page_file):
    watched = Watched(browser, page_file, viewport={"width": 1280, "height": 900})
    page = watched.page
    page.evaluate("window.scrollTo(0, 0)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#leaderboard-table thead th') !== null"):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("Enter")
    _sorted(page, "#leaderboard-table", 0, "ascending")
    assert outline == "solid"
    watched.context.close()


def test_on_paper_nothing_is_folded_and_text_is_dark(browser, page_file):
    watched = Watched(browser, page_file, color_scheme="dark")
    page = watched.page
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.querySelector('.plot text')).fill") == "rgb(0, 0, 0)"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 0
    watched.context.close()
