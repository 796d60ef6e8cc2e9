"""Define the exceptions that a user may see, each with its remedy.

AdapterBookError
├── ConfigError    a YAML file under experiments/ is not valid: mend the file
├── SourceError    a base model or a data set is not available: choose another source
├── RunError       a training run failed: see its executed notebook
├── RecordError    a record is missing, truncated or not valid: run it again
├── RenderError    a page cannot be made or rendered: mend the template or the page
└── PublishError   the site should not or cannot be published: do what the message says

The command line prints such an exception without a traceback and exits with 2. Any other exception
is a defect of this program and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_LINE = 500


class AdapterBookError(Exception):
    """Tell the user what is wrong and how to mend it.

    Parameters
    ----------
    summary : str
        What is wrong, naming the file or the thing.
    problems : iterable of str
        All problems found, each with what was expected, what came and what to do.

    Examples
    --------
    >>> print(ConfigError("study.yaml is not valid:", ["seeds: expected a list, got 3"]))
    study.yaml is not valid:
      - seeds: expected a list, got 3
    """

    def __init__(self, summary: str, problems: Iterable[str] = ()) -> None:
        self.summary = summary
        self.problems = tuple(problems)
        indented = (problem.replace("\n", "\n    ") for problem in self.problems)
        super().__init__("\n".join([summary, *(f"  - {problem}" for problem in indented)]))


class ConfigError(AdapterBookError):
    """A YAML file is not valid. Remedy: mend the file."""


class SourceError(AdapterBookError):
    """A base model or a data set is not available. Remedy: another source, or the network."""


class RunError(AdapterBookError):
    """A training run failed. Remedy: see its executed notebook."""


class RecordError(AdapterBookError):
    """A record is missing, truncated or not valid. Remedy: run it again."""


class RenderError(AdapterBookError):
    """A page cannot be made or rendered. Remedy: mend the template or the page."""


class PublishError(AdapterBookError):
    """The site should not or cannot be published. Remedy: what the message says."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, printable and cut; the class's name where it has no text."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "".join(char if char.isprintable() else " " for char in line[:MAX_LINE]).rstrip(".")
