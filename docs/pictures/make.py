"""Make the README's pictures from a running Signalbox that has played its sample business.

    SAMPLE=1 make run                                        # in one terminal
    .venv/bin/python docs/pictures/make.py [ADDRESS]         # in another; ADDRESS is http://127.0.0.1:8080

It needs Playwright (tests/requirements.txt) and a Chromium: CHROMIUM names it, /usr/bin/chromium otherwise.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
WIDTH = 1280
GUTTER = 15  # the pages keep room for a scroll bar
RULE = "two-failed-payments"


def main() -> None:
    address = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8080"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox", "--hide-scrollbars"]
        )
        page = browser.new_page(viewport={"width": WIDTH + GUTTER, "height": 1000}, color_scheme="light")
        editor(page, address)
        run(page, address)
        browser.close()


def editor(page: Page, address: str) -> None:
    """The sentence form of the sample's rule, with its read-back beside it."""
    page.goto(f"{address}/rules/{RULE}/edit")
    save(page, "editor.png", 772)


def run(page: Page, address: str) -> None:
    """The latest run of that rule that ended well."""
    page.goto(f"{address}/runs?state=done&rule={RULE}")
    page.locator("main tbody a[href^='/runs/']").first.click()
    page.wait_for_selector(".story")
    save(page, "run.png", 820)


def save(page: Page, name: str, height: int) -> None:
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur()")
    page.wait_for_timeout(300)
    page.screenshot(path=HERE / name, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    sys.stdout.write(f"{name}: {(HERE / name).stat().st_size // 1024} KB\n")


if __name__ == "__main__":
    main()
