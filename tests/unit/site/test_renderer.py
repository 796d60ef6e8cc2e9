"""Test the choice of the renderer and the calls of Quarto, with a script on the PATH in Quarto's place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from adapterbook.common.errors import RenderError
from adapterbook.site import build_site, choose_renderer, make_documents
from adapterbook.site.project import read_project
from adapterbook.site.quarto import QuartoRenderer
from tests.support.site_sample import write_sample

# This script answers like Quarto, and records its arguments and the files around it.
STAND_IN = """\
#!{python}
import json, os, pathlib, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("{version}")
    raise SystemExit
here = pathlib.Path.cwd()
files = sorted(p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file())
with open("{log}", "a") as log:
    log.write(json.dumps(dict(arguments=arguments, files=files)) + "\\n")
if os.environ.get("STAND_IN_FAILS"):
    lines = [f"title: page {{number}}" for number in range(100)]
    lines += ["\\x1b[31mERROR: no such filter\\x1b[39m", "at the third line"]
    print(*lines, sep="\\n", file=sys.stderr)
    raise SystemExit(1)
folder = here / arguments[arguments.index("--output-dir") + 1]
(folder / "index.html").write_text(os.environ.get("STAND_IN_WRITES", "<!DOCTYPE html><title>x</title>"))
"""


@pytest.fixture
def quarto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for Quarto 1.10 alone on the PATH and return the file it writes its calls to."""
    return install(tmp_path, monkeypatch, "1.10.18")


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Path:
    folder, log = tmp_path / "bin", tmp_path / "calls.jsonl"
    folder.mkdir()
    script = folder / "quarto"
    script.write_text(STAND_IN.format(python=sys.executable, version=version, log=log), "utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return log


def calls(log: Path) -> list[dict[str, list[str]]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


def test_auto_without_quarto_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Quarto, the embedded renderer is taken silently."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_renderer().name == "embedded"


def test_auto_with_quarto_is_quarto(quarto: Path) -> None:
    """If Quarto is on the PATH it is taken, and its version is known."""
    chosen = choose_renderer()
    assert (chosen.name, chosen.version) == ("quarto", "1.10.18")


def test_embedded_can_be_asked_for(quarto: Path) -> None:
    """RENDERER=embedded is honoured although Quarto is on the PATH."""
    assert choose_renderer("embedded").name == "embedded"


def test_quarto_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RENDERER=quarto without Quarto says what to do; so does a name that does not exist."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RenderError, match="RENDERER=embedded"):
        choose_renderer("quarto")
    with pytest.raises(RenderError, match="expected auto, quarto or embedded"):
        choose_renderer("sphinx")


def test_old_quarto_warns_and_too_old_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quarto 1.6 is used with a warning; 1.3, which has no Typst, is not used, and refused when asked for."""
    (tmp_path / "a").mkdir()
    install(tmp_path / "a", monkeypatch, "1.6.40")
    with pytest.warns(UserWarning, match=r"1\.6\.40 is older than 1\.9"):
        assert choose_renderer().name == "quarto"
    (tmp_path / "b").mkdir()
    install(tmp_path / "b", monkeypatch, "1.3.450")
    assert choose_renderer().name == "embedded"
    with pytest.raises(RenderError, match=r"expected Quarto 1\.4 or newer, found 1\.3\.450"):
        choose_renderer("quarto")


def test_build_with_quarto(quarto: Path, tmp_path: Path) -> None:
    """Quarto renders into a new folder inside the project, which is then put in place, the PDFs beside its pages."""
    root = write_sample(tmp_path / "project")
    (root / "_site").mkdir()
    (root / "_site/old.html").touch()
    said: list[str] = []
    site = build_site(root, say=said.append)
    assert sorted(p.name for p in site.iterdir()) == [
        ".nojekyll",
        "404.html",
        "index.html",
        "report-en.pdf",
        "report-zh.pdf",
    ]
    (asked,) = calls(quarto)
    assert asked["arguments"][:2] == ["render", "."]
    assert asked["arguments"][3].startswith(".cache/making/_site-")
    # What a plain `quarto render` copies is there before Quarto begins.
    assert {"404.html", "report-en.pdf", "report-zh.pdf"} <= set(asked["files"])
    assert (site / "report-zh.pdf").stat().st_size > 10_000
    assert "quarto (1.10.18)" in said[0]


def test_problems_of_quartos_pages_are_said(quarto: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, an unknown anchor and a request to another host are warnings with their page's name."""
    monkeypatch.setenv(
        "STAND_IN_WRITES",
        '<!DOCTYPE html><title>x</title><link rel="stylesheet" href="https://fonts.example.org/a.css">'
        '<h1 id="top">x</h1><a href="#top">ok</a><a href="#gone">a</a><a href="lost.html">b</a>'
        '<a href="report-zh.pdf">made afterwards</a>',
    )
    said: list[str] = []
    build_site(write_sample(tmp_path / "project"), say=said.append)
    warned = [line.removeprefix("warning: ") for line in said if line.startswith("warning: ")]
    assert warned == [
        "index.html: https://fonts.example.org/a.css is fetched from another host or from the server's root; "
        "the site has to hold it",
        "index.html: link to #gone: index.html has no id gone",
        "index.html: link to lost.html: no such file in the site",
    ]


def test_a_failure_shows_quartos_errors(quarto: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our message has the lines from Quarto's first error on, without colours, and the site of before is untouched."""
    root = write_sample(tmp_path / "project")
    (root / "_site").mkdir()
    (root / "_site/old.html").touch()
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    with pytest.raises(RenderError) as caught:
        QuartoRenderer(str(tmp_path / "bin/quarto")).render_site(root)
    assert list(caught.value.problems) == ["ERROR: no such filter", "at the third line"]
    assert [p.name for p in (root / "_site").iterdir()] == ["old.html"]
    assert list((root / ".cache" / "making").iterdir()) == []


def test_projects_own_configuration_reads() -> None:
    """Both renderers can read the project's real _quarto.yml, which makes no request to a host."""
    config = yaml.safe_load((Path(__file__).parents[3] / "_quarto.yml").read_text("utf-8"))
    assert config["project"]["type"] == "website"
    assert config["format"]["html"]["html-math-method"] == "mathml"
    # To Quarto a pattern without a slash before it matches at any depth, inside the output folder too.
    patterns = [*config["project"]["render"], *config["project"]["resources"]]
    assert [pattern for pattern in patterns if not pattern.startswith("/")] == []


def test_quarto_leaves_the_checkout_clean() -> None:
    """.gitignore has the two lines that Quarto otherwise adds at each full render."""
    lines = (Path(__file__).parents[3] / ".gitignore").read_text("utf-8").splitlines()
    assert {"/.quarto/", "**/*.quarto_ipynb"} <= set(lines)


def test_metadata_comes_folder_by_folder(tmp_path: Path) -> None:
    """A page has the language of its folder's _metadata.yml unless its own front matter says otherwise."""
    root = write_sample(tmp_path)
    page = root / "report/zh/adapters/ia3.qmd"
    page.write_text(page.read_text("utf-8").replace("lang: zh-TW\n", ""), "utf-8")
    project = read_project(root)
    assert project.pages["report/zh/adapters/ia3.qmd"].language == "zh-TW"
    assert project.pages["report/zh/adapters/ia3.qmd"].metadata["sidebar"] == "zh"
    assert "sidebar" not in project.pages["index.qmd"].metadata


def test_site_imports_no_torch() -> None:
    """Importing the site loads neither torch nor Transformers."""
    program = "import sys, adapterbook.site; print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_documents_are_made_without_the_site(tmp_path: Path) -> None:
    """The PDFs and 404.html come to lie in the project's folder, and the project names them as resources."""
    root = write_sample(tmp_path)
    make_documents(root, say=lambda line: None)
    assert {path.name for path in root.iterdir()} >= {"404.html", "report-en.pdf", "report-zh.pdf"}
    assert not (root / "_site").exists()
    config = yaml.safe_load((Path(__file__).parents[3] / "_quarto.yml").read_text("utf-8"))
    assert "/report-*.pdf" in config["project"]["resources"]  # Quarto finds 404.html by its name
