"""Publish the site: `make publish`.

Nothing is made here. A site that is not made from today's records is refused, and so is one with failed runs or with
numbers that fail verification.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from adapterbook.commands import rebuild, verify
from adapterbook.commands.report import find_unmade, site_folder
from adapterbook.common.errors import AdapterBookError, PublishError
from adapterbook.common.formatting import say
from adapterbook.common.workdir import hold_workplace
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.publish.branch import (
    BRANCH,
    SUBJECT,
    Checkout,
    find_foreign_files,
    inspect_checkout,
    publish_folder,
)
from adapterbook.runs.plan import RunStatus
from adapterbook.runs.select import load_report

# The problems that a user may allow, each with its meaning.
ALLOWED: Final = {
    "stale": "runs that are missing or stale, or a site that is not made from today's records",
    "failed": "runs that failed",
    "unverified": "a site that was not compared with its records, or that failed verification",
    "others": f"files on {BRANCH} that no `make publish` put there are removed or replaced",
}
MAX_NAMED: Final = 12  # of the problems of one kind
GITHUB: Final = re.compile(
    r"(?:https://|ssh://git@|git@)github\.com[/:](?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?"
)


def publish_site(
    root: Path,
    source: str,
    seeds: Sequence[int] | None,
    retrain: str,
    allow: Collection[str],
    cell_timeout_s: float,
    console: Console,
) -> None:
    """Put the site on the branch ``gh-pages`` of ``origin``, unless there is a problem that is not allowed.

    Parameters
    ----------
    retrain : str
        Id of the run to train again, which takes minutes, or ``none``.
    allow : collection of str
        Which problems of :data:`ALLOWED` do not stop it.

    Raises
    ------
    PublishError
        With every problem, and how to publish despite it; or if git or the remote refuses.
    """
    unknown = sorted(set(allow) - ALLOWED.keys())
    if unknown:
        meaning = [f"{name}: {what}" for name, what in ALLOWED.items()]
        raise AdapterBookError(f"ALLOW={','.join(unknown)[:200]}: expected one or more of these, with commas:", meaning)
    paths = Paths(root)
    site = site_folder(root)
    if not (site / "index.html").is_file():
        raise PublishError(f"There is no {site.name}/ to publish: `make all` makes it.")
    checkout = inspect_checkout(root)
    with hold_workplace(root, lambda text: say(console, text)):
        statuses = load_report(paths, source, seeds)[3]
        _refuse(site, [*_run_problems(statuses), *_site_problems(root, source, seeds, site)], allow)
        if "others" not in allow:
            _refuse_foreign_files(find_foreign_files(root, site), checkout, allow)
        if "unverified" not in allow:
            if "stale" not in allow:
                say(console, f"Building the report again, to compare it with {site.name}/ …")
                differences = rebuild.find_site_differences(root, source, seeds)
                _refuse(site, [("unverified", text) for text in differences], allow)
            _verify(root, source, seeds, retrain, site, allow, cell_timeout_s, console)
        say(console, f"Publishing {site.name}/ on {BRANCH} of {checkout.remote} …")
        done = publish_folder(root, site, _message(checkout, allow))
    if done.is_new:
        say(console, f"Published {done.n_files} files as commit {done.commit[:12]}.")
    else:
        say(console, f"Nothing to publish: {BRANCH} holds these {done.n_files} files already ({done.commit[:12]}).")
    say(console, _where(paths, checkout))


def _refuse_foreign_files(names: Sequence[str], checkout: Checkout, allow: Collection[str]) -> None:
    if names:
        wanted = ",".join(kind for kind in ALLOWED if kind in allow or kind == "others")
        raise PublishError(
            f"{BRANCH} of {checkout.remote} holds files that no `make publish` put there, and publishing would remove "
            f"or replace them. Keep them elsewhere, or let them go: `make publish ALLOW={wanted}`.",
            _shortened(names),
        )


def _run_problems(statuses: Sequence[RunStatus]) -> list[tuple[str, str]]:
    """Return the problems of the runs: the word that allows each, and a message."""
    problems = []
    for status in statuses:
        if status.state == "failed":
            problems.append(("failed", f"{status.run.id} failed: {' '.join((status.problem or '').split())}"))
        elif status.state == "missing":
            problems.append(("stale", f"{status.run.id} is not trained yet"))
        elif status.stale:
            problems.append(("stale", f"{status.run.id} is stale: {', '.join(status.stale)} changed since"))
        elif not status.up_to_date:
            problems.append(("unverified", f"{status.run.id}: {' '.join((status.problem or '').split())}"))
    return problems


def _site_problems(root: Path, source: str, seeds: Sequence[int] | None, site: Path) -> list[tuple[str, str]]:
    unmade = find_unmade(root, source, seeds)
    if unmade is None:
        return []
    what = "the pages are" if unmade == "pages" else f"{site.name}/ is"
    return [("stale", f"{what} not made from today's records, texts and programs: run `make site`")]


def _verify(
    root: Path,
    source: str,
    seeds: Sequence[int] | None,
    retrain: str,
    site: Path,
    allow: Collection[str],
    cell_timeout_s: float,
    console: Console,
) -> None:
    audit = verify.audit(root, source, seeds, retrain or "none", cell_timeout_s, console)
    kinds = {"stale": "stale", "failed": "failed", "wrong": "unverified"}
    _refuse(site, [(kinds[finding.kind], str(finding)) for finding in audit.findings], allow)
    say(console, audit.summary)


def _refuse(site: Path, problems: Sequence[tuple[str, str]], allow: Collection[str]) -> None:
    """Raise if a problem is not allowed."""
    against = [(kind, text) for kind, text in problems if kind not in allow]
    if not against:
        return
    kinds = [kind for kind in ALLOWED if any(kind == other for other, _ in against)]
    lines = [line for kind in kinds for line in _shortened(text for other, text in against if other == kind)]
    wanted = ",".join(kind for kind in ALLOWED if kind in kinds or kind in allow)
    raise PublishError(
        f"{site.name}/ is not published: it is {' and '.join(kinds)}. `make all`, and `make publish` again; or publish "
        f"it as it is: `make publish ALLOW={wanted}`.",
        lines,
    )


def _shortened(texts: Iterable[str]) -> list[str]:
    lines = list(texts)
    if len(lines) > MAX_NAMED:
        lines = [*lines[: MAX_NAMED - 1], f"… and {len(lines) - MAX_NAMED + 1} more of the kind"]
    return lines


def _message(checkout: Checkout, allow: Collection[str]) -> str:
    """Return the message of the commit, which says what the site was made from."""
    of = f" ({checkout.branch})" if checkout.branch else ""
    changes = ", with uncommitted changes" if checkout.changed else ""
    allowed = f"\nPublished with ALLOW={','.join(sorted(allow))}.\n" if allow else ""
    return f"{SUBJECT}{checkout.commit[:12]}{of}\n\nMade from commit {checkout.commit}{changes}.\n{allowed}"


def _where(paths: Paths, checkout: Checkout) -> str:
    """Return the site's address, or how to give it one."""
    address = load_book(paths.book).site_url
    if address is not None:
        return f"Readers find it at {address}/ in about a minute."
    found = GITHUB.fullmatch(checkout.remote)
    if found is None:
        return f"The host of {checkout.remote} says at which address {BRANCH} is read; set it in book.yaml as site_url."
    owner, name = found["owner"], found["name"]
    host = f"https://{owner.lower()}.github.io"
    address = host if name.lower() == host.removeprefix("https://") else f"{host}/{name}"
    return (
        f"On GitHub: Settings → Pages → Deploy from a branch → {BRANCH}, once. The address is then {address}; with "
        f"`site_url: {address}` in book.yaml, search engines and link previews know it too."
    )
