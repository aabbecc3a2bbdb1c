"""The page in a real browser: what a person sees, hears of and can reach by keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.commands import titan
from tests.local_gateway import CHROMIUM, FIRST, HOURLY, LAST, gateway, letting_in, rows
from tests.warehouse import DATABASE, Row, Warehouse, make_batch, separate_warehouse, use_database

PATIENCE = 20_000  # milliseconds
HOSTILE = "<IMG SRC=X ONERROR=ALERT(1)>/USDT"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium, or TITAN_TEST_BROWSER names one")
    with sync_playwright() as playwright:
        # Its sandbox refuses to work for root, and looks at nothing but our own page here.
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="module")
def filled(manifest: Any) -> Iterator[Warehouse]:
    """Two exchanges with a symbol in common, one with a name that is a trap, one without volume and flat."""
    warehouse = separate_warehouse("page")
    warehouse.query(HOURLY)
    some = rows({"BTC/USDT": 100, "ETH/USDT": 0.00002, HOSTILE: 7})
    some += [Row(FIRST + timedelta(hours=at), 5, "FLAT/USDT", volume=0) for at in range(900)]
    warehouse.load(make_batch(some, exchange="one", observed=(FIRST, LAST)))
    warehouse.load(make_batch(rows({"ETH/USDT": 11}), exchange="two", observed=(FIRST, LAST)))
    warehouse.refresh()
    yield warehouse
    warehouse.close()


@pytest.fixture
def shown(filled: Warehouse) -> Warehouse:
    """The same; commands work in it, too."""
    use_database(f"{DATABASE}_page")
    return filled


@pytest.fixture(scope="module")
def address(filled: Warehouse) -> Iterator[str]:
    use_database(f"{DATABASE}_page")
    with gateway() as client:
        yield str(client.base_url)


@dataclass
class Visitor:
    """A tab, and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def see(self, text: str | re.Pattern[str], where: str = "#price-title") -> None:
        """Wait until a part of the page says so."""
        expect(self.page.locator(where)).to_contain_text(text, timeout=PATIENCE)

    def settle(self) -> None:
        """Wait for the last part that is filled."""
        expect(self.page.locator("#health table")).to_be_visible(timeout=PATIENCE)
        expect(self.page.locator("#live")).to_have_class("on", timeout=PATIENCE)


@contextmanager
def visit(browser: Browser, url: str, theme: Any = "light", width: int = 1300, height: int = 900) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    visitor = Visitor(context.new_page())
    visitor.page.on("console", lambda told: visitor.complaints.append(told.text) if told.type == "error" else None)
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    visitor.page.on("request", lambda request: visitor.asked.append(request.url))
    visitor.page.goto(url)
    yield visitor
    context.close()


@pytest.mark.parametrize(("theme", "width"), [("light", 1300), ("dark", 1300), ("light", 390), ("dark", 390)])
def test_it_shows_what_there_is_to_everybody(
    browser: Browser, address: str, shown: Warehouse, theme: str, width: int
) -> None:
    """On a desk and a phone, dark and light: nothing from elsewhere, no error, nothing that keeps people out."""
    url = f"{address}/?symbol=BTC/USDT&timeframe=1h&signal=hourly+1h"
    with visit(browser, url, theme, width) as visitor:
        visitor.settle()
        visitor.see("BTC/USDT · 1h · one spot")
        page = visitor.page
        close = shown.value(
            "select close from marts.ohlcv where symbol = 'BTC/USDT' and timeframe = '1h' order by closed_at desc limit 1"
        )
        told = page.locator("#price-chart").get_attribute("aria-label") or ""
        assert f"last close {close:,.7g}" in told
        assert page.locator("#price-chart canvas").count() > 2
        assert page.locator("#account-chart canvas").count() > 2
        assert page.locator("#watch tbody tr").count() == 5
        assert page.locator("#correlation tbody td").count() == 25
        assert page.locator("#health tbody tr").count() == 5
        assert page.locator("#leaders tbody tr").count() > 5
        assert page.locator("html").get_attribute("data-theme") == theme
        for closed in ("#bars", "#trades"):
            page.locator(f"{closed} summary").click()
            assert page.locator(f"{closed} tbody tr").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert {urlsplit(one).netloc for one in visitor.asked} == {urlsplit(address).netloc}
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert visitor.complaints == []


def test_what_becomes_new_is_seen(browser: Browser, address: str, shown: Warehouse) -> None:
    with visit(browser, f"{address}/?symbol=BTC/USDT&timeframe=1h") as visitor:
        visitor.settle()
        row = visitor.page.locator('#watch tr[aria-current="true"]')
        for turn in range(3):
            shown.load(make_batch([Row(LAST + timedelta(hours=turn), 4321 + turn, "BTC/USDT")], exchange="one"))
            shown.refresh()
            expect(row).to_contain_text(f"4,32{1 + turn}", timeout=PATIENCE)
            expect(visitor.page.locator("#price-chart")).to_have_attribute(
                "aria-label", re.compile(f"4,32{1 + turn}$"), timeout=PATIENCE
            )
            visitor.see(f"4,32{1 + turn}", "#dive")
        # One that is long past and another now: it is read anew, not appended.
        shown.load(make_batch([Row(LAST + timedelta(hours=1), 1234, "BTC/USDT")], exchange="one"))
        shown.refresh()
        visitor.page.locator("#bars summary").click()
        visitor.see("1,234", "#bars")
        assert visitor.page.locator("#bars tbody tr").count() == 50
        assert visitor.complaints == []


def test_its_address_is_what_is_chosen(browser: Browser, address: str) -> None:
    """By hand, by links, by keys; the way back leads back."""
    with visit(browser, address) as visitor:
        visitor.settle()
        page = visitor.page
        page.locator("#watch a", has_text="FLAT/USDT").click()
        visitor.see("FLAT/USDT · 1D")
        page.keyboard.press("[")
        visitor.see("FLAT/USDT · 12h")
        assert "symbol=FLAT%2FUSDT&timeframe=12h" in page.url
        page.keyboard.press("k")
        visitor.see("ETH/USDT · 12h · two spot")  # the row above it
        page.keyboard.press("j")
        visitor.see("FLAT/USDT · 12h")
        page.go_back()
        visitor.see("ETH/USDT · 12h · two spot")
        page.go_back()
        visitor.see("FLAT/USDT · 12h")
        page.go_back()
        visitor.see("FLAT/USDT · 1D")
        page.keyboard.press("/")
        page.keyboard.type("eth/usdt · two spot")
        page.keyboard.press("Enter")
        visitor.see("ETH/USDT · 1D · two spot")
        assert "exchange=two&market=spot" in page.url  # one of two
        page.reload()
        visitor.see("ETH/USDT · 1D · two spot")
        page.keyboard.press("t")
        assert page.locator("html").get_attribute("data-theme") == "dark"
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("Escape")
        page.locator("#timeframe").select_option("3D")  # without features: prices alone
        visitor.see("ETH/USDT · 3D")
        visitor.see("none of this timeframe", "#dive")
        page.locator("#symbol").fill("nothing")
        page.keyboard.press("Enter")
        visitor.see("there is no NOTHING", "#problem")
        page.goto(f"{address}/?symbol=GONE/USDT")
        visitor.see("there is no GONE/USDT", "#problem")
        page.goto(f"{address}/?symbol=BTC/USDT&timeframe=1m")
        visitor.see("there are no 1m bars of BTC/USDT", "#problem")
        assert visitor.complaints == []


def test_the_chart_is_walked_by_keys_and_reads_older_bars(browser: Browser, address: str, shown: Warehouse) -> None:
    shown.load(make_batch(rows({"LONG/USDT": 9}, 2500), exchange="one"))
    shown.refresh()
    with visit(browser, f"{address}/?symbol=LONG/USDT&timeframe=1h") as visitor:
        visitor.settle()
        chart = visitor.page.locator("#price-chart")
        chart.focus()
        with visitor.page.expect_response(lambda one: "/v1/ohlcv" in one.url and "to=" in one.url, timeout=PATIENCE):
            for _ in range(40):
                chart.press("ArrowLeft")
                chart.press("-")
        chart.press("End")
        assert visitor.complaints == []


def test_a_database_that_is_away_is_told_of_until_it_is_back(browser: Browser, address: str, shown: Warehouse) -> None:
    with letting_in(shown) as allow, visit(browser, f"{address}/?symbol=BTC/USDT&timeframe=4h") as visitor:
        visitor.settle()
        try:
            allow(False)
            visitor.see("the database is away since", "#live")
            visitor.page.keyboard.press("j")  # and it asks for what it cannot have now
            visitor.see(re.compile(r"no connection to .* \(since \d\d:\d\d:\d\d UTC\)"), "#problem")
        finally:
            allow(True)
        expect(visitor.page.locator("#problem")).to_be_hidden(timeout=40_000)
        visitor.see(re.compile("^live"), "#live")
        visitor.see(" · 4h · ")
        assert all("503" in told or "Failed to load resource" in told for told in visitor.complaints)


def test_it_asks_for_a_key_where_one_is_needed(browser: Browser, shown: Warehouse) -> None:
    """And says which parts a key is not for."""
    key = titan("key", "create", "eyes", "--scope", "market").stdout.strip().splitlines()[-1]
    with gateway("--require-key") as client, visit(browser, f"{client.base_url}?symbol=BTC/USDT&timeframe=1h") as visitor:
        page = visitor.page
        expect(page.locator("#key")).to_be_visible(timeout=PATIENCE)
        page.locator("#key-value").fill("titan_wrong")
        page.keyboard.press("Enter")
        visitor.see("there is no such key", "#key-why")
        page.locator("#key-value").fill(key)
        page.keyboard.press("Enter")
        visitor.see("BTC/USDT · 1h")
        visitor.see("is for market, and this is research", "#leaders")
        visitor.see("is for market, and this is operations", "#health")
        expect(page.locator("#live")).to_have_class("on", timeout=PATIENCE)
        expect(page.locator("#problem")).to_be_hidden()
        page.reload()
        visitor.see("BTC/USDT · 1h")  # kept until the tab is closed
        assert key not in page.url
        assert not any(key in one for one in visitor.asked)


def test_an_empty_warehouse_says_so(browser: Browser, warehouse: Warehouse) -> None:
    with gateway() as client, visit(browser, str(client.base_url)) as visitor:
        visitor.see("there is no instrument: titan load", "#problem")
        warehouse.load(make_batch(rows({"NEW/USDT": 9}, 30), exchange="one"))
        warehouse.refresh()
        visitor.see("NEW/USDT · 1D", "#price-title")
        expect(visitor.page.locator("#problem")).to_be_hidden(timeout=PATIENCE)


def test_files_of_the_page_are_compressed_and_asked_for_once(address: str) -> None:
    """Without a browser: less than a megabyte, and no file that is not one of the page's."""
    with httpx.Client(base_url=address) as client:
        size = 0
        for name in ("", *(f"page/{one}" for one in ("main.js", "api.js", "forms.js", "charts.js", "page.css", "icon.svg"))):
            response = client.get(f"/{name}")
            assert response.status_code == 200, name
            assert response.headers["content-encoding"] == "gzip"
            assert "script-src 'self'" in response.headers["content-security-policy"]
            size += int(response.headers["content-length"])
            again = client.get(f"/{name}", headers={"If-None-Match": response.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        size += int(client.get("/page/lightweight-charts.js").headers["content-length"])
        assert size < 1_000_000
        for name in ("__init__.py", "..%2f__init__.py", "%2e%2e/service.py", "nothing.js"):
            assert client.get(f"/page/{name}").status_code == 404, name
