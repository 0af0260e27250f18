# SPDX-License-Identifier: Apache-2.0
"""The page of `scs serve` in a real browser: accessible, live, and quick. It brings a region of its own.

axe-core comes from npm into a temporary folder; without npm, its test is skipped. https://github.com/dequelabs/axe-core
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from scs_deploy.api import access
from scs_deploy.region.region import Region
from scs_deploy.state.runs import run_store
from tests.e2e.test_horizon import open_browser
from tests.support import page_region, page_site
from tests.support.page_region import PASSWORD
from tests.support.page_site import Running

pytestmark = pytest.mark.e2e

AXE = "axe-core@4.14.1"
HOSTS = 300
PATHS = ("/", "/hosts", "/hosts/control-1", "/services", "/services/nova", "/plan", "/runs", "/alerts", "/images",
         "/certificates", "/backups", "/inventory", "/runbooks/haproxy", "/status")  # fmt: skip
PHONE, DESK = (360, 740), (1280, 900)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    folder = tmp_path_factory.mktemp("environments")
    with page_region.environments(folder):
        made = page_region.make(folder)
        access.set_password(made.environment, PASSWORD)
        yield made


@pytest.fixture(scope="module")
def page(region: Region) -> Iterator[Running]:
    with page_site.serving(region, page_region.all_facts(region)) as running:
        yield running


@pytest.fixture(scope="module")
def stranger(page: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    driver = open_browser(page.url, tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(stranger: WebDriver, page: Running) -> Iterator[WebDriver]:
    """Logged in by hand."""
    looks(stranger, *DESK)
    stranger.get(f"{page.url}/login?next=/")
    stranger.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
    WebDriverWait(stranger, 20).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".cards"), "the login failed")
    yield stranger
    stranger.delete_all_cookies()


def complaints(driver: Any) -> list[Any]:
    """What the browser says in its console, e.g. of the page's security policy."""
    found: list[Any] = driver.get_log("browser")
    return found


def looks(driver: WebDriver, width: int, height: int, scheme: str = "light") -> None:
    """Size of the screen, and the colours that its user prefers."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checker's source."""
    if not shutil.which("npm"):
        pytest.skip("no npm, with which axe-core comes")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", str(folder), AXE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(driver: WebDriver, axe: str) -> list[str]:
    """What of WCAG 2.2 AA and of good practice a page violates."""
    driver.execute_script(axe)
    driver.set_script_timeout(120)
    found: dict[str, Any] = driver.execute_async_script("""
        const done = arguments[arguments.length - 1];
        const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
        axe.run(document, {runOnly: {type: "tag", values: tags}}).then(done, (error) => done({error: String(error)}));
    """)
    assert "error" not in found, found["error"]
    assert len(found["passes"]) > 5
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "de"])
def test_everybody_can_use_it(page: Running, browser: WebDriver, axe: str, scheme: str, language: str) -> None:
    wrong = {}
    run = page.site.watched.runs().list()[-1].id
    for path in (*PATHS, f"/runs/{run}"):
        for size in (DESK, PHONE):
            looks(browser, *size, scheme)
            browser.get(f"{page.url}{path}?lang={language}")
            wrong[f"{path} {size[0]}"] = violations(browser, axe)
    browser.delete_all_cookies()
    browser.get(f"{page.url}/login?lang={language}")
    wrong["/login"] = violations(browser, axe)
    assert {where: said for where, said in wrong.items() if said} == {}


def test_it_fits_a_phone(page: Running, browser: WebDriver) -> None:
    looks(browser, *PHONE)
    wide = {}
    for path in PATHS:
        browser.get(page.url + path)
        wide[path] = browser.execute_script("return document.scrollingElement.scrollWidth - innerWidth")
    assert {p: w for p, w in wide.items() if w > 0} == {}


def test_the_keyboard_is_enough(page: Running, browser: WebDriver) -> None:
    browser.get(f"{page.url}/hosts")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.get_attribute("class") == "skip" and skip.is_displayed()
    skip.send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    inside = "return document.getElementById('content').contains(document.activeElement)"
    assert browser.execute_script(inside)
    focused = browser.switch_to.active_element
    assert "none" not in focused.value_of_css_property("outline-style")


def test_an_open_page_follows_a_run_and_nothing_jumps(page: Running, browser: WebDriver, region: Region) -> None:
    with run_store(region.environment) as store:
        record = store.start("scs apply keystone", changes_total=3)
        record.step_started("Replace keystone", host="control-1")
        browser.get(f"{page.url}/runs/{record.id}")
        browser.execute_script("""
            window.shifted = 0;
            new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) window.shifted += entry.value;
            }).observe({type: "layout-shift", buffered: true});
        """)
        time.sleep(2)
        record.step_started("Replace placement", host="control-2")
        WebDriverWait(browser, 20).until(lambda b: "Replace placement" in b.find_element(By.ID, "content").text)
        record.finish()
        WebDriverWait(browser, 20).until(lambda b: "✓ done" in b.find_element(By.ID, "content").text)
    assert complaints(browser) == []


def test_loading_shifts_nothing_and_paints_soon(tmp_path: Path, stranger: WebDriver) -> None:
    """A region of 300 hosts; the browser is warm, its cache is not."""
    with page_region.environments(tmp_path):
        page_region.describe(tmp_path, HOSTS)
        large = page_region.with_authority(tmp_path)
        facts = page_region.of_hosts(large)
        with page_site.serving(large, facts) as page:
            driver = open_browser(page.url, tmp_path / "profile")
            try:
                looks(driver, *DESK)
                driver.get(f"{page.url}/login")
                driver.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
                WebDriverWait(driver, 20).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".cards"))
                for path in ("/", "/hosts"):
                    driver.get(page.url + path)
                    painted, shifted = driver.execute_async_script("""
                        const done = arguments[arguments.length - 1];
                        const name = "first-contentful-paint";
                        let total = 0;
                        new PerformanceObserver((list) => list.getEntries().forEach((e) => { total += e.value; }))
                            .observe({type: "layout-shift", buffered: true});
                        new PerformanceObserver((list) => {
                            const [paint] = list.getEntriesByName(name);
                            if (paint) setTimeout(() => done([paint.startTime, total]), 500);
                        }).observe({type: "paint", buffered: true});
                    """)
                    assert painted < (1000 if path == "/" else 2000), (path, painted)
                    assert shifted < 0.02, (path, shifted)
                    assert complaints(driver) == [], path
            finally:
                driver.quit()
