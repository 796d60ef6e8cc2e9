"""The command line: parse, call, print. ``make`` calls it; ``python -m adapterbook --help`` lists it.

Our own errors are printed without a traceback, and the exit status is then 2; it is 1 where runs failed or are stale.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adapterbook.common.errors import AdapterBookError

HELP = """Train PEFT adapters under one protocol, and publish a bilingual comparison of them.

Works in the project's folder or below it: the one that holds book.yaml, experiments/ and _quarto.yml. `make` calls
these commands inside the project's own environment, under the same names; every option is an environment variable too,
and so a setting of make: `train --source embedded --jobs 2` is `make train SOURCE=embedded JOBS=2`.
"""
EPILOG = """\b
Examples:
  python -m adapterbook all                                train what is due, then make pages and site
  python -m adapterbook status                             which runs are up to date, and why the others are not
  python -m adapterbook train --seeds "1 2 3" --jobs 2     three seeds of every run, two runs side by side
  python -m adapterbook new-adapter mine --from lora_1     a commented file for an adapter of your own
  python -m adapterbook push-adapters --dry-run yes        what would go to the Hugging Face Hub

\b
Exit status:
  0    all is well
  1    done, but something is not as it should be: a run failed, is stale, or cannot be believed
  2    a setting, a file or the network kept it from working; the message says what to do
  130  stopped by Ctrl-C; finished runs are kept
"""

app = typer.Typer(
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
console = Console(stderr=False)

SourceOption = Annotated[
    str,
    typer.Option(
        envvar="SOURCE", metavar="SOURCE", help="auto, hub, embedded, or the path of a YAML file of your own."
    ),
]
SeedsOption = Annotated[
    str,
    typer.Option(
        envvar="SEEDS", metavar="NUMBERS", help="Seeds instead of the study's, such as '1 2 3'.", show_default=False
    ),
]
JobsOption = Annotated[
    str,
    typer.Option(
        envvar="JOBS", metavar="NUMBER", help="Runs side by side; default: one per core or GPU.", show_default=False
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        envvar="CELL_TIMEOUT_S", metavar="SECONDS", help="Longest time one notebook cell may take, in seconds."
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        envvar="EXECUTOR", metavar="local|dask", help="local: this machine; dask: the cluster that SCHEDULER names."
    ),
]
SchedulerOption = Annotated[
    str,
    typer.Option(
        envvar="SCHEDULER",
        metavar="ADDRESS",
        help="Where a Dask scheduler listens: tcp://host:8786.",
        show_default=False,
    ),
]
RendererOption = Annotated[str, typer.Option(envvar="RENDERER", metavar="RENDERER", help="auto, quarto or embedded.")]
RetrainOption = Annotated[
    str,
    typer.Option(
        envvar="RETRAIN",
        metavar="RUN",
        help="Id of the run to train again, or none; default: the shortest.",
        show_default=False,
    ),
]

NameArgument = Annotated[
    str,
    typer.Argument(envvar="NAME", metavar="NAME", help="Name of the new adapter, and of its file.", show_default=False),
]
FromOption = Annotated[str, typer.Option("--from", envvar="FROM", metavar="ADAPTER", help="The adapter to begin with.")]
NamespaceOption = Annotated[
    str,
    typer.Option(
        envvar="NAMESPACE", metavar="NAME", help="Your name on the Hub, or an organisation's.", show_default=False
    ),
]
PrefixOption = Annotated[
    str,
    typer.Option(
        "--repo-prefix", envvar="REPO_PREFIX", metavar="TEXT", help="What the repositories' names begin with."
    ),
]
PrivateOption = Annotated[
    str,
    typer.Option(
        envvar="PRIVATE", metavar="yes|no", help="yes: repositories that are made are private.", show_default=False
    ),
]
DryRunOption = Annotated[
    str,
    typer.Option(
        envvar="DRY_RUN", metavar="yes|no", help="yes: only say what would go; needs no token.", show_default=False
    ),
]

AllowOption = Annotated[
    str, typer.Option(envvar="ALLOW", help="Publish stale, failed or unverified all the same.", show_default=False)
]
PortOption = Annotated[int, typer.Option(envvar="PORT", help="Port of 127.0.0.1 to serve at; 0: any that is free.")]

HOUR_S = 3600.0
SCHEDULER_ADDRESS = re.compile(r"(tcp|tls)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


@app.command(short_help="Train every run that is missing, failed or stale.")
def train(
    source: SourceOption = "auto",
    seeds: SeedsOption = "",
    jobs: JobsOption = "",
    cell_timeout_s: TimeoutOption = 6 * HOUR_S,
    executor: ExecutorOption = "local",
    scheduler: SchedulerOption = "",
) -> None:
    """Train every run that is missing, failed or stale; exit 1 when one fails."""
    from adapterbook.commands.train import train

    place = _scheduler(executor, scheduler, jobs)
    outcome = train(_root(), source, _seeds(seeds), _jobs(jobs), cell_timeout_s, console, place)
    raise typer.Exit(outcome.exit_code)


@app.command(short_help="Make the figures and the pages from the records.")
def pages(source: SourceOption = "auto", seeds: SeedsOption = "") -> None:
    """Make the figures and the pages (.qmd) from the records; trains nothing and loads no torch."""
    from adapterbook.commands.report import update_pages

    update_pages(_root(), source, _seeds(seeds), console)


@app.command()
def site(renderer: RendererOption = "auto") -> None:
    """Render the pages into _site/, and a PDF in each language."""
    from adapterbook.commands.report import update_site

    update_site(_root(), renderer, console)


@app.command(name="all", short_help="Train what is due, then make the pages and the site.")
def all_(
    source: SourceOption = "auto",
    seeds: SeedsOption = "",
    jobs: JobsOption = "",
    cell_timeout_s: TimeoutOption = 6 * HOUR_S,
    renderer: RendererOption = "auto",
    executor: ExecutorOption = "local",
    scheduler: SchedulerOption = "",
) -> None:
    """Train what is due, then make the pages and the site; only what is left to do."""
    from adapterbook.commands.report import update_pages, update_site
    from adapterbook.commands.train import train
    from adapterbook.config.book import load_book
    from adapterbook.config.paths import Paths

    load_book(Paths(_root()).book)  # a mistake in it is found before anything trains
    place = _scheduler(executor, scheduler, jobs)
    outcome = train(_root(), source, _seeds(seeds), _jobs(jobs), cell_timeout_s, console, place)
    update_pages(_root(), outcome.source, _seeds(seeds), console)
    update_site(_root(), renderer, console)
    raise typer.Exit(outcome.exit_code)


@app.command(short_help="Show which runs are up to date, and why not.")
def status(source: SourceOption = "auto", seeds: SeedsOption = "") -> None:
    """Show which runs are up to date, and why the others are not; exit 1 when any is not."""
    from adapterbook.runs.select import load_statuses

    statuses = load_statuses(_root(), source, _seeds(seeds))
    table = Table("run", "state", "why")
    for item in statuses:
        why = item.problem or ", ".join(item.stale)
        table.add_row(item.run.id, "up to date" if item.up_to_date else "stale" if item.stale else item.state, why)
    console.print(table)
    raise typer.Exit(0 if all(item.up_to_date for item in statuses) else 1)


@app.command(short_help="Check that every number can be believed.")
def verify(
    source: SourceOption = "auto",
    seeds: SeedsOption = "",
    retrain: RetrainOption = "",
    cell_timeout_s: TimeoutOption = 6 * HOUR_S,
) -> None:
    """Check that every number can be believed, and train one run again; exit 1 and name what cannot."""
    from adapterbook.commands.verify import verify

    raise typer.Exit(verify(_root(), source, _seeds(seeds), retrain.strip(), cell_timeout_s, console))


@app.command(name="new-adapter", short_help="Write a commented file for an adapter of your own.")
def new_adapter(name: NameArgument = "", model: FromOption = "lora_1") -> None:
    """Write experiments/adapters/NAME.yaml, a commented copy of an adapter that is there."""
    from adapterbook.commands.new_adapter import create_adapter
    from adapterbook.config.paths import Paths

    paths = Paths(_root())
    file = paths.shown(create_adapter(name.strip(), model.strip() or "lora_1", paths))
    for line in (
        f"{file} is {name.strip()}, so far the same as {model.strip() or 'lora_1'}. Next:",
        f"  1. Change its settings and both titles in {file}.",
        "  2. `make train` checks every file against PEFT and the base model, then trains what is new.",
        "  3. `make site` puts it on every page; `make all` does both.",
    ):
        print(line)


@app.command(name="push-adapters", short_help="Upload the adapters with model cards to the Hub.")
def push_adapters(
    namespace: NamespaceOption = "",
    repo_prefix: PrefixOption = "adapterbook",
    private: PrivateOption = "",
    dry_run: DryRunOption = "",
    source: SourceOption = "auto",
    seeds: SeedsOption = "",
) -> None:
    """Upload each adapter's best run, with its model card and record, to the Hugging Face Hub.

    One repository an adapter: NAMESPACE/REPO_PREFIX-<adapter>. Of an adapter goes its best variant, chosen by
    validation. Only completed runs go that are up to date and whose files are those of their record; exit 1 where one
    was left out. The token comes from where the Hub's client keeps it: `hf auth login`, or HF_TOKEN.
    """
    from adapterbook.commands.push_adapters import push_adapters

    exit_code = push_adapters(
        _root(),
        source,
        _seeds(seeds),
        namespace.strip(),
        repo_prefix.strip(),
        console,
        private=_yes("PRIVATE", private),
        dry_run=_yes("DRY_RUN", dry_run),
    )
    raise typer.Exit(exit_code)


@app.command(short_help="Serve the site, made and shown anew after each change.")
def preview(
    source: SourceOption = "auto", seeds: SeedsOption = "", renderer: RendererOption = "auto", port: PortOption = 8000
) -> None:
    """Serve _site/ on this machine, make it again after each change, and show it anew in the browser."""
    from adapterbook.commands.preview import Step, preview_site
    from adapterbook.common.console import say

    options: dict[Step, list[str]] = {"pages": ["--source", source, "--seeds", seeds], "site": ["--renderer", renderer]}
    preview_site(_root(), port, options, lambda text: say(console, text))


@app.command(short_help="Put the verified site on the branch gh-pages.")
def publish(
    source: SourceOption = "auto",
    seeds: SeedsOption = "",
    retrain: RetrainOption = "",
    allow: AllowOption = "",
    renderer: RendererOption = "auto",
    cell_timeout_s: TimeoutOption = 6 * HOUR_S,
) -> None:
    """Put _site/ on the branch gh-pages of origin, where every number can be believed; trains none again by itself."""
    from adapterbook.commands.publish import publish_site

    allowed = allow.replace(",", " ").split()
    publish_site(_root(), source, _seeds(seeds), retrain.strip(), allowed, renderer, cell_timeout_s, console)


@app.command(name="install-quarto", hidden=True)
def install_quarto() -> None:
    """Install the quarto-cli package where its download can be reached; `make setup` calls this."""
    from adapterbook.commands.install_quarto import install_quarto

    install_quarto(_root() / "requirements-quarto.txt")


@app.command(short_help="Write the JSON schema of record.json.")
def schema() -> None:
    """Write the JSON schema of record.json to experiments/record.schema.json."""
    import json

    from adapterbook.common.files import write_text_atomically
    from adapterbook.runs.record import record_schema

    text = json.dumps(record_schema(), indent=2, ensure_ascii=False) + "\n"
    write_text_atomically(_root() / "experiments" / "record.schema.json", text)


def main() -> None:
    """Run the command line, and turn our own errors into a message and an exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except AdapterBookError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"The disk is full ({error.strerror}): make room, and run the same command again.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. Finished runs are kept; `make all` goes on from there.", file=sys.stderr)
        sys.exit(130)


def _interrupt(number: int, frame: Any) -> None:
    """Stop, once: whoever presses Ctrl-C again must not keep the kernels from being stopped."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, lambda *_: None)  # not SIG_IGN: Python would complain of one that is on its way
    raise KeyboardInterrupt


def _root() -> Path:
    """Return the project's folder, this one or the nearest above it with a study, its shared files up to date."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "experiments").is_dir() and any((folder / name).exists() for name in ("_quarto.yml", "book.yaml")):
            from adapterbook.commands.shared_files import copy_shared_files
            from adapterbook.config.paths import Paths

            os.chdir(folder)
            copy_shared_files(Paths(folder))
            return folder
    raise AdapterBookError(f"{here} is not inside an AdapterBook project: no experiments/ and book.yaml found.")


def _seeds(text: str) -> list[int] | None:
    try:
        seeds = [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise AdapterBookError(f"SEEDS={text!r}: expected whole numbers, such as SEEDS='1 2 3'.") from None
    if len(set(seeds)) != len(seeds):
        raise AdapterBookError(f"SEEDS={text!r}: each seed once.")
    return seeds or None


def _jobs(text: str) -> int | None:
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise AdapterBookError(f"JOBS={text!r}: expected a whole number of runs side by side.") from None


def _yes(name: str, text: str) -> bool:
    answer = text.strip().lower()
    if answer not in ("", "yes", "no"):
        raise AdapterBookError(f"{name}={text[:200]!r}: expected yes or no.")
    return answer == "yes"


def _scheduler(executor: str, address: str, jobs: str) -> str | None:
    """Return the address of the cluster that runs go to; None: they stay on this machine."""
    executor, address = executor.strip() or "local", address.strip()
    if executor == "local":
        return None
    if executor != "dask":
        raise AdapterBookError(f"EXECUTOR={executor[:200]}: expected local or dask.")
    if not SCHEDULER_ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 2**16:
        got = f"SCHEDULER={address[:200]}" if address else "nothing"
        raise AdapterBookError(
            f"EXECUTOR=dask needs the address of a scheduler, such as SCHEDULER=tcp://host:8786 (or tls://), got {got}."
        )
    if jobs.strip():
        raise AdapterBookError(
            f"JOBS={jobs.strip()[:200]} is for this machine: how many runs go side by side on a cluster is for its "
            "workers' threads and GPUs to say. Leave JOBS out."
        )
    return address
