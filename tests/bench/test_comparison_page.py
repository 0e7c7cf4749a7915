"""`bench compare --format html` in a browser: no request, no script, no sideways scrolling, in the dark, too."""

import re
import shutil

import pytest

from leaderboard.comparison import compare_explainers
from leaderboard.record import load
from leaderboard.report.comparison_html import comparison_html

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")


def test_the_page_stands_alone_on_a_phone_in_the_dark(showcase, tmp_path):
    results = load(showcase.folder)
    found = compare_explainers(results, ["good", showcase.HOSTILE, "bad"])
    file = tmp_path / "apart.html"
    file.write_text(comparison_html(found, showcase.folder, results.samples), encoding="utf-8", newline="")
    seen = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        page.on("request", lambda request: seen.append(request.url))
        page.on("console", lambda message: seen.append(message.text))
        page.on("dialog", lambda dialog: seen.append(dialog.message))
        page.goto(file.as_uri())
        width, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        loaded = page.evaluate("[...document.images].map(one => one.naturalWidth > 0)")
        browser.close()
    assert [one for one in seen if not one.startswith("data:")] == [file.as_uri()]
    assert width <= room
    assert max(map(int, re.findall(r"\d+", background))) < 64
    assert loaded
    assert all(loaded)
