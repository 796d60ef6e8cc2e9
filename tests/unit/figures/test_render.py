"""Check that a picture is never drawn twice and never stale."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
import pytest
from matplotlib.figure import Figure as Canvas

from adapterbook.analysis.shapes import Report
from adapterbook.common import fonts
from adapterbook.common.cache import Cache, installed_packages
from adapterbook.config.paths import Paths
from adapterbook.config.phrases import Phrases, load_phrases
from adapterbook.figures import draw_figures, open_figures_cache, render, style
from adapterbook.figures.catalogue import plan_figures
from adapterbook.figures.render import Picture, render_pictures
from adapterbook.figures.words import FigureWords
from adapterbook.runs.record import load_record, seal_record, write_record
from tests.support.factory import PHRASES, PROJECT, read_report, write_results
from tests.support.processes import wait_until

VARIANTS = {
    "submitted": {"title": "As submitted"},
    "lr-1e-3": {"title": "1e-3", "training": {"learning_rate": 1.0e-3}},
}
# Makes the figures in another process, and tells how many pictures it drew and whether Matplotlib was loaded.
SCRIPT = """
import sys
from pathlib import Path
from adapterbook.config.paths import Paths
from adapterbook.figures import draw_figures, open_figures_cache, render
from tests.support.factory import PHRASES, read_report

draw_all, drawn = render._draw_all, []
def counting(pictures):
    drawn.extend(pictures)
    return draw_all(pictures)
render._draw_all = counting
root = Path(sys.argv[1])
draw_figures(read_report(Paths(root)), root / "figures", PHRASES, ["zh"], open_figures_cache(root))
print(len(drawn), "matplotlib" in sys.modules)
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return write_results(tmp_path, adapters=["lora_1", "ia3"], variants=VARIANTS)


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(render, "count_cores", lambda: 1)
    yield


def pictures_of(report: Report, phrases: Phrases = PHRASES) -> dict[str, Picture]:
    """Return every Chinese picture of a report by its figure's id."""
    drawings = plan_figures(report, FigureWords(phrases, "zh"))
    return {d.id: Picture(d.id, d.height, d.paint) for d in drawings if d.paint is not None}


def identities(report: Report, phrases: Phrases = PHRASES) -> dict[str, str]:
    return {id: picture.identity() for id, picture in pictures_of(report, phrases).items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert set(before) == set(after)
    return {id for id in before if before[id] != after[id]}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.svg"))}


def change_loss(paths: Paths, run: str) -> None:
    """Raise one validation loss of one record."""
    folder = paths.results / "embedded" / run
    record = load_record(folder)
    first = record.epochs[0].model_copy(update={"validation_loss": 0.9})
    write_record(seal_record(record.model_copy(update={"epochs": (first, *record.epochs[1:])}), folder), folder)


def test_what_was_drawn_is_not_drawn_again(paths: Paths) -> None:
    """A second process gives the same files without loading Matplotlib, and leaves those that are right untouched."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT.root)}

    def draw() -> str:
        command = [sys.executable, "-c", SCRIPT, str(paths.root)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    folder = paths.root / "figures"
    n_drawn = int(draw().split()[0])
    first, times = contents(folder), {path: path.stat().st_mtime_ns for path in folder.rglob("*.svg")}
    assert n_drawn == len(first) > 10
    victim = folder / "zh" / "headline.svg"
    victim.write_text("<svg/>", "utf-8")
    (folder / "zh" / "costs.svg").unlink()
    (folder / "zh" / "gone.svg").write_text("<svg/>", "utf-8")
    assert draw() == "0 False"
    assert contents(folder) == first
    touched = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert touched == {"headline.svg", "costs.svg"}


def test_one_record_redraws_what_shows_it(paths: Paths) -> None:
    """A changed loss of LoRA changes its curves and those of the whole study, and nothing of IA³."""
    before = identities(read_report(paths))
    change_loss(paths, "lora_1/submitted/seed-224")
    moved = changed(before, identities(read_report(paths)))
    assert {"headline", "learning-rate", "curves-lora-1"} <= moved
    assert not moved & {"curves-ia3", "accuracy-ia3", "confusion-ia3", "confusion-lora-1", "block", "costs", "learned"}


def test_one_colour_redraws_what_has_it(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter's style is part of the data of the pictures that show it."""
    report = read_report(paths)
    before = identities(report)
    monkeypatch.setitem(style.KNOWN_ADAPTERS, "ia3", style.LineStyle("#000000", "-", "o"))
    moved = changed(before, identities(report))
    assert {"headline", "costs", "block", "learned", "curves-ia3"} <= moved
    assert not moved & {"curves-lora-1", "accuracy-lora-1", "confusion-lora-1", "confusion-ia3"}


def test_one_phrase_redraws_what_shows_it(paths: Paths, tmp_path: Path) -> None:
    """A changed word of a legend redraws the figures that have it; a title, which no picture holds, redraws none."""
    report = read_report(paths)
    before = identities(report)

    def moved(old: str, new: str) -> set[str]:
        text = (PROJECT.templates / "phrases.yaml").read_text("utf-8")
        assert old in text
        folder = tmp_path / new
        shutil.copytree(PROJECT.templates, folder)
        (folder / "phrases.yaml").write_text(text.replace(old, new), "utf-8")
        return changed(before, identities(report, load_phrases(folder)))

    assert moved("onset: {zh: 過擬合, en", "onset: {zh: 開始過擬合, en") == {"epochs"}
    assert moved("驗證損失最低的輪次，與過擬合的起點", "驗證損失最低的輪次") == set()


@pytest.mark.usefixtures("one_core")
@pytest.mark.slow
def test_a_new_picture_is_drawn_and_the_old_one_forgotten(paths: Paths) -> None:
    """The files after a change are those of a build from scratch, and the store does not grow."""
    folder, cache = paths.root / "figures", open_figures_cache(paths.root)
    draw_figures(read_report(paths), folder, PHRASES, ["zh"], cache)
    cache.forget_unused()
    kept = paths.root / ".cache" / "build" / "figures"
    n_kept = len(list(kept.iterdir()))
    change_loss(paths, "lora_1/submitted/seed-224")
    later = open_figures_cache(paths.root)
    draw_figures(read_report(paths), folder, PHRASES, ["zh"], later)
    later.forget_unused()
    draw_figures(read_report(paths), paths.root / "fresh", PHRASES, ["zh"])
    assert contents(folder) == contents(paths.root / "fresh")
    assert len(list(kept.iterdir())) == n_kept > 10


def test_code_font_and_versions_are_part_of_every_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of our code, of the font or of a package, no picture drawn before is used."""
    package = tmp_path / "package"
    (package / "figures").mkdir(parents=True)
    (package / "figures" / "style.py").write_text("WIDTH = 6.4\n", "utf-8")
    font = tmp_path / "font.ttf"
    font.write_bytes(b"one")
    monkeypatch.setattr("adapterbook.common.cache.PACKAGE", package)
    monkeypatch.setenv(fonts.PLOT.variable, str(font))

    def known() -> bool:
        return open_figures_cache(tmp_path).find("svg", ["x"]) is not None

    open_figures_cache(tmp_path).store("svg", ["x"], b"drawn")
    assert known()
    (package / "figures" / "style.py").write_text("WIDTH = 7\n", "utf-8")
    assert not known()
    (package / "figures" / "style.py").write_text("WIDTH = 6.4\n", "utf-8")
    assert known()
    font.write_bytes(b"two")
    assert not known()
    font.write_bytes(b"one")
    installed = [(name, "4.0" if name == "matplotlib" else version) for name, version in installed_packages()]
    monkeypatch.setattr("adapterbook.common.cache.installed_packages", lambda: installed)
    assert not known()


def test_a_painter_gets_plain_data_only() -> None:
    """A painter that is given anything but plain data is refused."""

    def paint(what: Any, canvas: Canvas) -> None: ...

    with pytest.raises(TypeError, match="a painter gets plain data"):
        Picture("x", 3.0, partial(paint, [{"a": Path("x")}])).identity()


@pytest.mark.slow
def test_pictures_are_the_same_drawn_beside_each_other(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, one process and other settings of Matplotlib give the same bytes."""
    pictures = list(pictures_of(read_report(paths)).values())[:6]
    one = render_pictures(pictures)
    with mpl.rc_context({"lines.linewidth": 9.0, "axes.facecolor": "red"}):
        assert render_pictures(pictures) == one
    monkeypatch.setattr(render, "count_cores", lambda: 2)
    monkeypatch.setattr(render, "PICTURES_PER_PROCESS", 2)
    assert render_pictures(pictures) == one


def test_every_picture_asked_for_comes_back_in_order(tmp_path: Path) -> None:
    """Known and new pictures mixed keep their places."""
    cache = Cache(tmp_path / "cache")

    def picture(id: str) -> Picture:
        return Picture(id, 2.0, partial(_write, id))

    alone = {id: render_pictures([picture(id)])[0] for id in "abc"}
    render_pictures([picture("b")], cache)
    assert render_pictures([picture("a"), picture("b"), picture("c")], cache) == list(alone.values())
    assert len(set(alone.values())) == 3


@pytest.mark.slow
def test_processes_that_draw_end_with_a_killed_driver(tmp_path: Path) -> None:
    """Processes that ignore Ctrl-C and SIGTERM end when the one that started them is killed, whatever they wait for."""
    code = "import sys; from tests.unit.figures import test_render; test_render.draw_for_ever(sys.argv[1])"
    environment = os.environ | {"PYTHONPATH": str(PROJECT.root)}
    driver = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, driver)
    drawing = psutil.Process(driver.pid).children(recursive=True)
    assert len(drawing) >= 2
    driver.kill()
    driver.wait()
    wait_until(lambda: not any(process.is_running() for process in drawing))


def draw_for_ever(folder: str) -> None:
    """Draw pictures that are never done, in two processes."""
    for name, value in (("count_cores", lambda: 2), ("PICTURES_PER_PROCESS", 2)):
        setattr(render, name, value)
    render_pictures([Picture(str(number), 2.0, partial(_never_end, folder)) for number in range(4)])


def _never_end(folder: str, canvas: Canvas) -> None:
    (Path(folder) / str(os.getpid())).touch()
    while True:
        signal.pause()


def _write(text: str, canvas: Canvas) -> None:
    canvas.text(0.5, 0.5, text)
