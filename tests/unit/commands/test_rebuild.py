"""Test that a site is compared, byte for byte, with one that is built again from its records in another folder."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from adapterbook.commands.rebuild import find_site_differences
from adapterbook.commands.report import update_pages, update_site
from adapterbook.common.workdir import hold_workplace
from tests.support.factory import PROJECT, write_results
from tests.support.live import prepare_live, seal_runs, write_base_model
from tests.support.report_pages import few_run_pages, write_site_files


@pytest.mark.slow
def test_a_site_is_what_its_records_give(tmp_path: Path) -> None:
    """Nothing differs from a site that was just made; a changed page, a missing file and one too many are named."""
    root = tmp_path / "project"
    paths = write_results(root, adapters=["ia3"], variants={"submitted": {"title": "As submitted"}}, n_test=24)
    write_site_files(paths)
    shutil.copytree(PROJECT.templates, paths.templates)
    seal_runs(paths)
    prepare_live(paths, write_base_model(tmp_path / "base"))
    (root / "data").mkdir()
    console = Console(file=io.StringIO())
    with few_run_pages(1):
        update_pages(root, "embedded", None, console)
        update_site(root, "embedded", console)
        assert find(root) == []
        assert list((root / "_site").rglob("scripts/live/ia3-submitted-*.js"))
        index = root / "_site" / "index.html"
        index.write_text(index.read_text("utf-8").replace("</main>", "99.9%</main>"), "utf-8")
        (root / "_site" / "notes.txt").write_text("private", "utf-8")
        record = next((root / "_site").rglob("seed-*/record.json"))
        record.unlink()
        assert find(root) == [
            f"_site/{record.relative_to(root / '_site').as_posix()} is missing",
            "_site/index.html is not what today's records and texts give",
            "_site/notes.txt is not part of the report",
        ]
    assert not (root / ".cache" / "making").exists()


def find(root: Path) -> list[str]:
    """Compare, as `make publish` does."""
    with hold_workplace(root, print):
        return find_site_differences(root, "embedded", None)
