"""A comparison as a page: what it says, what it shows, and that nothing on it is run or fetched."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest

from leaderboard.comparison import compare_explainers
from leaderboard.comparison_page import ComparisonPage
from leaderboard.record import load
from leaderboard.report.comparison_html import comparison_html


@pytest.fixture(scope="module")
def results(showcase):
    return load(showcase.folder)


@pytest.fixture(scope="module")
def found(results, showcase):
    return compare_explainers(results, ["good", "bad", showcase.HOSTILE])


@pytest.fixture(scope="module")
def page(found, results, showcase):
    return comparison_html(found, showcase.folder, results.samples)


def text_of(page: str) -> str:
    """What a reader sees, without what may break a line within names."""
    return unescape(re.sub(r"<[^>]+>", "", page.replace("<wbr>", "").partition("</style>")[2]))


class Reader(HTMLParser):
    """What a browser would see: elements still open, addresses, and scripts in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "link", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, _, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_verdicts_come_first_then_details_then_samples(found, page):
    text = text_of(page)
    told = ComparisonPage(found)
    places = [text.index(line) for _, line in told.verdicts()]
    places += [text.index(title) for title, _ in told.tables()]
    places += [text.index(line) for line in told.samples()]
    assert places == sorted(places)
    assert told.title in text


def test_every_number_of_the_details_is_there(found, page):
    tables = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", part) for part in re.findall(r"<tbody>(.*?)</tbody>", page, re.S)
    ]
    wanted = [[str(value) for row in frame.to_numpy() for value in row] for _, frame in ComparisonPage(found).tables()]
    assert [[unescape(value.replace("<wbr>", "")) for value in table] for table in tables] == wanted


def test_names_stay_text_and_nothing_is_run_or_fetched(page, showcase):
    attack = re.compile("<script|<img src=x", re.IGNORECASE)
    assert not attack.search(page)
    assert showcase.HOSTILE in text_of(page)
    assert "script-src 'none'" in unescape(page)
    reader = read(page)
    assert reader.references
    assert all(one.startswith(("#", "data:")) for one in reader.references)
    assert not reader.handlers
    assert "url(" not in page
    assert "@import" not in page


def test_elements_are_closed_in_order(page):
    assert read(page).open == []


def test_maps_of_the_samples_are_shown_where_they_were_kept(found, page, results, tmp_path):
    shown = re.findall(r'alt="Map by ([^"]+)"', page)
    assert shown
    assert set(map(unescape, shown)) <= set(found.explainers)
    bare = comparison_html(found, tmp_path, results.samples)
    assert "data:image" not in bare
    assert "bench run --save-attributions" in bare
    assert ComparisonPage(found).samples()[0] in text_of(bare)


def test_a_page_without_details(found, results, showcase):
    page = comparison_html(found, showcase.folder, results.samples, details=False)
    assert 'id="details"' not in page
    assert "<table" not in page


def test_the_same_records_are_the_same_page(found, page, results, showcase):
    assert comparison_html(found, showcase.folder, results.samples) == page
