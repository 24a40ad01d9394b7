"""The browser of this machine that tests of the page drive."""

from __future__ import annotations

import os
import shutil

import pytest

_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)

# In CI a browser that is missing is a failure: nobody would see that the page is not tested any more.
needs_a_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="needs Chromium or Chrome"),
]
