# SPDX-License-Identifier: Apache-2.0
"""Horizon as a person sees it: log in, find the server, in a real browser that trusts this region's key only."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.blackbox import RegionUnderTest

if TYPE_CHECKING:
    from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e

PAGE_DEADLINE = 60
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=1400,1000",
)


def key_hash(host: str, port: int) -> str:
    """Base64 of the SHA-256 of the public key that a TLS server shows (SPKI, as in RFC 7469)."""
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate((host, port)).encode())
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


@pytest.fixture
def dashboard(region: RegionUnderTest) -> str:
    """Horizon's URL: at the external API name, unless SCS_HORIZON_URL says otherwise. Its TLS is checked here."""
    url = os.environ.get("SCS_HORIZON_URL") or f"https://{region.settings['api']['external']['name']}/"
    answer = requests.get(url, verify=str(region.ca), timeout=60)
    assert answer.status_code == 200, f"{answer.url}: HTTP {answer.status_code}"
    assert urlsplit(answer.url).scheme == "https"
    return answer.url


def open_browser(url: str, profile: Path) -> WebDriver:
    """Headless Chromium that accepts the key of `url`'s server, whose certificate was checked before."""
    parts = urlsplit(url)
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument(f"--ignore-certificate-errors-spki-list={key_hash(parts.hostname or '', parts.port or 443)}")
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(PAGE_DEADLINE)
    return driver


@pytest.fixture
def browser(dashboard: str, tmp_path: Path) -> Iterator[WebDriver]:
    driver = open_browser(dashboard, tmp_path / "profile")
    yield driver
    driver.save_screenshot(str(tmp_path / "horizon.png"))
    driver.quit()


def test_login_and_instance_list(
    region: RegionUnderTest, dashboard: str, browser: WebDriver, server: Server, tmp_path: Path
) -> None:
    browser.get(dashboard)
    wait = WebDriverWait(browser, PAGE_DEADLINE)
    wait.until(lambda b: b.find_elements(By.ID, "id_password"), "no login form")
    root = browser.current_url.partition("auth/login")[0]
    # without this field users of a customer's domain cannot log in
    browser.find_element(By.ID, "id_domain").send_keys(region.auth.get("user_domain_name", "Default"))
    browser.find_element(By.ID, "id_username").send_keys(region.auth["username"])
    browser.find_element(By.ID, "id_password").send_keys(region.auth["password"])
    browser.find_element(By.CSS_SELECTOR, "form button[type=submit], #loginBtn").click()
    wait.until(lambda b: "auth/login" not in b.current_url, "login was refused")
    # whoever has several projects is shown one of them
    project = region.openstack("server", "show", server.id)["project_id"]
    browser.get(f"{root}auth/switch/{project}/?next={urlsplit(root).path}project/instances/")
    path = f"//tr[contains(., '{server.name}')]"
    wait.until(lambda b: b.find_elements(By.XPATH, path), f"no instance {server.name} in the list")
    row = browser.find_element(By.XPATH, path).text
    assert "Active" in row, row
    assert server.address in row or "Running" in row, row
