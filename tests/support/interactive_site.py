"""Make a made-up study's site with hostile names, to test the pages that scripts make interactive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from adapterbook.analysis.shapes import Report
from adapterbook.config.paths import Paths
from tests.support.factory import write_results
from tests.support.report_pages import make_site, write_site_files

# This name could end a script, a fence, a JSON string and a cell, and is a shortcode and a spreadsheet's formula.
HOSTILE_NAME = '=1+1 </script><img src=x onerror=alert(1)> ``` {{< meta x >}} {{{ \\" \u202e, 模型'


def make_interactive_site(root: Path, looked_at: str, **options: Any) -> tuple[Paths, Report]:
    """Write a project and its site, of some pages as in `make_site`; IA³ and the highest rate have hostile names."""
    paths = write_results(root, **options)
    ia3 = paths.experiments / "adapters" / "ia3.yaml"
    content = yaml.safe_load(ia3.read_text("utf-8"))
    ia3.write_text(yaml.safe_dump(content | {"title": {"zh": HOSTILE_NAME, "en": HOSTILE_NAME}}), "utf-8")
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    study["variants"]["lr-1e-3"]["title"] = {"zh": HOSTILE_NAME, "en": HOSTILE_NAME}
    paths.study.write_text(yaml.safe_dump(study), "utf-8")
    write_site_files(paths)
    return paths, make_site(paths, looked_at)
