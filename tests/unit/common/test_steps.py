"""Test that a step runs again only if something that it depends on, or something that it made, has changed."""

import os
from pathlib import Path

import pytest

from adapterbook.common.cache import hash_inputs, run_step


class Step:
    """Write one folder from one file, and count how often."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0
        (root / "source.txt").write_text("one")

    def run(self, *facts: object) -> bool:
        """Run the step if it is due."""
        inputs = hash_inputs(self.root, [self.root / "source.txt", self.root / "parts"], *facts)
        return run_step("step", self.root, inputs, [self.root / "made"], self.make)

    def make(self) -> None:
        """Write the output."""
        self.count += 1
        (self.root / "made").mkdir(exist_ok=True)
        (self.root / "made" / "out.txt").write_text((self.root / "source.txt").read_text())


@pytest.fixture
def step(tmp_path: Path) -> Step:
    """Return a step that has run once."""
    step = Step(tmp_path)
    assert step.run()
    return step


def test_nothing_changed_nothing_made(step: Step) -> None:
    """A step whose files are only newer is not run again."""
    os.utime(step.root / "source.txt", (1, 1))
    os.utime(step.root / "made" / "out.txt", (1, 1))
    assert not step.run()
    assert step.count == 1


@pytest.mark.parametrize(
    "change",
    ["content", "another file", "file gone", "output edited", "output gone", "more in the output", "fact", "memory"],
)
def test_whatever_changes_the_step_is_done_again(step: Step, change: str) -> None:
    """A step is run again, once, when an input, an output, a fact or the memory of them changes."""
    facts: tuple[object, ...] = ()
    match change:
        case "content":
            (step.root / "source.txt").write_text("two")
        case "another file":
            (step.root / "parts").mkdir()
            (step.root / "parts" / "new.txt").touch()
        case "file gone":
            (step.root / "source.txt").rename(step.root / "parts")
            (step.root / "source.txt").touch()
        case "output edited":
            (step.root / "made" / "out.txt").write_text("by hand")
        case "output gone":
            (step.root / "made" / "out.txt").unlink()
        case "more in the output":
            (step.root / "made" / "more.txt").touch()
        case "fact":
            facts = ("another renderer",)
        case _:
            (step.root / ".cache" / "steps" / "step.json").write_text("{")
    assert step.run(*facts)
    assert not step.run(*facts)
    assert step.count == 2


def test_a_step_that_fails_is_done_again(step: Step) -> None:
    """A step that failed runs again, even if it left part of its output."""
    (step.root / "source.txt").write_text("two")

    def fail() -> None:
        raise ZeroDivisionError

    inputs = hash_inputs(step.root, [step.root / "source.txt", step.root / "parts"])
    with pytest.raises(ZeroDivisionError):
        run_step("step", step.root, inputs, [step.root / "made"], fail)
    assert step.run()


def test_a_moved_project_is_up_to_date(step: Step) -> None:
    """A project that was moved is still up to date, since names are relative to it."""
    moved = step.root.rename(step.root.with_name("moved"))
    step.root = moved
    assert not step.run()


def test_names_and_contents_do_not_run_into_each_other(tmp_path: Path) -> None:
    """The same letters, divided otherwise among files, are different inputs."""
    for folder, files in (("a", {"x": "yz", "w": ""}), ("b", {"x": "y", "w": "z"})):
        (tmp_path / folder).mkdir()
        for name, content in files.items():
            (tmp_path / folder / name).write_text(content)
    hashes = {hash_inputs(tmp_path / folder, [tmp_path / folder]) for folder in "ab"}
    assert len(hashes) == 2
