"""Parse the command line, call the command, print what it says; ``python -m adapterbook --help`` lists the commands.

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
from adapterbook.common.homes import use_writable_home
from adapterbook.common.settings import read_jobs, read_scheduler, read_seeds, read_yes

HELP = """Train PEFT adapters under one protocol, and publish a bilingual comparison of them.

Run it in the project's folder, which holds book.yaml, experiments/ and _quarto.yml, or below it. `make` calls these
commands under the same names, in the project's own environment. Every option is also an environment variable, and so
a setting of make: `train --source embedded --jobs 2` is `make train SOURCE=embedded JOBS=2`.
"""
EPILOG = """\b
Examples:
  python -m adapterbook all                                train what is due, then make pages and site
  python -m adapterbook status                             which runs are up to date, and why the others are not
  python -m adapterbook train --seeds "1 2 3" --jobs 2     three seeds of every run, two runs side by side
  python -m adapterbook new-adapter mine --from lora_1     a commented file for your own adapter
  python -m adapterbook push-adapters --dry-run yes        what would go to the Hugging Face Hub

\b
Exit status:
  0    done, and nothing is wrong
  1    done, but a run failed, is stale, or failed verification
  2    not done because of a setting, a file or the network; the message says what to do
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


def _option(variable: str, metavar: str, help_text: str, *names: str, show_default: bool = False) -> Any:
    """Return an option that can also be set by an environment variable, and so in a call of make."""
    return typer.Option(*names, envvar=variable, metavar=metavar, help=help_text, show_default=show_default)


SourceOption = Annotated[
    str, _option("SOURCE", "SOURCE", "auto, hub, embedded, or the path of a YAML file.", show_default=True)
]
SeedsOption = Annotated[str, _option("SEEDS", "NUMBERS", "Seeds instead of the study's, such as '1 2 3'.")]
JobsOption = Annotated[str, _option("JOBS", "NUMBER", "Runs side by side; default: one per core or GPU.")]
TimeoutOption = Annotated[
    float,
    _option("CELL_TIMEOUT_S", "SECONDS", "Longest time one notebook cell may take, in seconds.", show_default=True),
]
ExecutorOption = Annotated[
    str,
    _option(
        "EXECUTOR", "local|dask", "local: this machine; dask: the cluster that SCHEDULER names.", show_default=True
    ),
]
SchedulerOption = Annotated[str, _option("SCHEDULER", "ADDRESS", "Where a Dask scheduler listens: tcp://host:8786.")]
RendererOption = Annotated[str, _option("RENDERER", "RENDERER", "auto, quarto or embedded.", show_default=True)]
RetrainOption = Annotated[
    str,
    _option(
        "RETRAIN",
        "RUN",
        "all, none, random or a run's id; default: what stands out, then by a hash.",
    ),
]
BudgetOption = Annotated[
    str, _option("BUDGET", "TIME", "How long training again may take: 90s, 10min, 2h.", show_default=True)
]
NameArgument = Annotated[
    str,
    typer.Argument(envvar="NAME", metavar="NAME", help="Name of the new adapter and of its file.", show_default=False),
]
FromOption = Annotated[str, _option("FROM", "ADAPTER", "The adapter to copy.", "--from", show_default=True)]
NamespaceOption = Annotated[str, _option("NAMESPACE", "NAME", "Your name on the Hub, or an organisation's.")]
PrefixOption = Annotated[
    str, _option("REPO_PREFIX", "TEXT", "What the repositories' names begin with.", "--repo-prefix", show_default=True)
]
PrivateOption = Annotated[str, _option("PRIVATE", "yes|no", "yes: new repositories are private.")]
DryRunOption = Annotated[str, _option("DRY_RUN", "yes|no", "yes: only say what would be uploaded; needs no token.")]
ToolOption = Annotated[str, _option("TO", "csv|tensorboard", "The tool to export for.")]
AllowOption = Annotated[
    str, _option("ALLOW", "WORDS", "stale, failed, unverified: publish although a run or number is that.")
]
PortOption = Annotated[int, _option("PORT", "NUMBER", "Port of 127.0.0.1; 0: any free one.", show_default=True)]

HOUR_S = 3600.0


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

    cluster = read_scheduler(executor, scheduler, jobs)
    outcome = train(_root(), source, read_seeds(seeds), read_jobs(jobs), cell_timeout_s, console, cluster)
    raise typer.Exit(outcome.exit_code)


@app.command(short_help="Make the figures and the pages from the records.")
def pages(source: SourceOption = "auto", seeds: SeedsOption = "") -> None:
    """Make the figures, the pages (.qmd) and the PDFs from the records, without training."""
    from adapterbook.commands.report import update_documents, update_pages

    update_pages(_root(), source, read_seeds(seeds), console)
    update_documents(_root(), console)


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
    """Train what is due, then make the pages and the site, where they are not up to date."""
    from adapterbook.commands.report import update_pages, update_site
    from adapterbook.commands.train import train
    from adapterbook.config.book import load_book
    from adapterbook.config.paths import Paths

    load_book(Paths(_root()).book)  # find a mistake in it before training
    cluster = read_scheduler(executor, scheduler, jobs)
    outcome = train(_root(), source, read_seeds(seeds), read_jobs(jobs), cell_timeout_s, console, cluster)
    update_pages(_root(), outcome.source, read_seeds(seeds), console)
    update_site(_root(), renderer, console)
    raise typer.Exit(outcome.exit_code)


@app.command(short_help="Show which runs are up to date, and why not.")
def status(source: SourceOption = "auto", seeds: SeedsOption = "") -> None:
    """Show which runs are up to date, and why the others are not; exit 1 when any is not."""
    from adapterbook.runs.select import load_statuses

    statuses = load_statuses(_root(), source, read_seeds(seeds))
    table = Table("run", "state", "why")
    for item in statuses:
        why = item.problem or ", ".join(item.stale)
        table.add_row(item.id, "up to date" if item.up_to_date else "stale" if item.stale else item.state, why)
    console.print(table)
    raise typer.Exit(0 if all(item.up_to_date for item in statuses) else 1)


@app.command(short_help="Check every number, and train some runs again.")
def verify(
    source: SourceOption = "auto",
    seeds: SeedsOption = "",
    retrain: RetrainOption = "",
    budget: BudgetOption = "10min",
    cell_timeout_s: TimeoutOption = 6 * HOUR_S,
) -> None:
    """Check every number against record, predictions and weights; train runs again; exit 1 if a check fails."""
    from adapterbook.commands.verify import DEFAULT_BUDGET, verify

    budget = budget.strip() or DEFAULT_BUDGET
    raise typer.Exit(verify(_root(), source, read_seeds(seeds), retrain.strip(), cell_timeout_s, console, budget))


@app.command(name="new-adapter", short_help="Write a commented file for your own adapter.")
def new_adapter(name: NameArgument = "", model: FromOption = "lora_1") -> None:
    """Write experiments/adapters/NAME.yaml, a commented copy of an existing adapter."""
    from adapterbook.commands.new_adapter import create_adapter
    from adapterbook.config.paths import Paths

    paths = Paths(_root())
    name, model = (re.sub(r"\.ya?ml$", "", text.strip(), flags=re.IGNORECASE) for text in (name, model))
    file = paths.shown(create_adapter(name, model or "lora_1", paths))
    for line in (
        f"{file} is a copy of {model or 'lora_1'}, named {name}. Next:",
        f"  1. Change its settings and both titles in {file}.",
        "  2. `make train` checks every file against PEFT and the base model, then trains the new one.",
        "  3. `make site` puts it on every page; `make all` does both.",
    ):
        print(line)


@app.command(name="new-study", short_help="Write a study of your own base model and data.")
def new_study(
    name: Annotated[str, typer.Argument(envvar="NAME", metavar="NAME", help="Name of the study.")] = "",
    base_model: Annotated[str, _option("BASE_MODEL", "NAME", "On the Hub, a folder, or embedded/….")] = "",
    dataset: Annotated[str, _option("DATASET", "NAME", "On the Hub, a folder, or embedded/….")] = "",
    text_column: Annotated[str, _option("TEXT_COLUMN", "NAME", "Column of texts.", show_default=True)] = "text",
    label_column: Annotated[str, _option("LABEL_COLUMN", "NAME", "Column of labels.", show_default=True)] = "label",
    labels: Annotated[str, _option("LABELS", "LIST", "Their names, such as '0=負面|negative, 1=正面|positive'.")] = "",
    title: Annotated[str, _option("TITLE", "TEXT", "Title of the report; Chinese|English.")] = "",
    author: Annotated[str, _option("AUTHOR", "TEXT", "Author; Chinese|English.")] = "",
    model: Annotated[
        str, _option("FROM", "FOLDER", "Study whose protocol and adapters it begins with.", "--from")
    ] = ".",
) -> None:
    """Write studies/NAME/, a study of another base model and data set; in a terminal it asks for what is missing."""
    from adapterbook.commands.new_study import Answers, create_study

    answers = {"name": name, "base_model": base_model, "dataset": dataset}
    if not all(answers.values()) and sys.stdin.isatty():
        answers = {key: value or typer.prompt(key.upper()) for key, value in answers.items()}
    more = {
        "text_column": text_column,
        "label_column": label_column,
        "labels": labels,
        "title": title,
        "author": author,
    }
    texts = {key: value.strip() for key, value in (answers | more | {"model": model.strip() or "."}).items()}
    root = _root()
    folder = create_study(Answers(**texts), root).relative_to(root).as_posix()
    print(f"{folder}/ is a study of {texts['dataset']}. `make -C {folder} all` trains it and makes its site.")


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

    Each adapter gets one repository, NAMESPACE/REPO_PREFIX-<adapter>, with its best variant by validation. Runs that
    are incomplete, stale, or do not match their record are left out, and the exit status is then 1. The token is that
    of `hf auth login`, or HF_TOKEN.
    """
    from adapterbook.commands.push_adapters import push_adapters

    exit_code = push_adapters(
        _root(),
        source,
        read_seeds(seeds),
        namespace.strip(),
        repo_prefix.strip(),
        console,
        private=read_yes("PRIVATE", private),
        dry_run=read_yes("DRY_RUN", dry_run),
    )
    raise typer.Exit(exit_code)


@app.command(short_help="Serve the site, rebuilt and reloaded on change.")
def preview(
    source: SourceOption = "auto", seeds: SeedsOption = "", renderer: RendererOption = "auto", port: PortOption = 8000
) -> None:
    """Serve _site/ on this machine; rebuild it and reload the browser on change."""
    from adapterbook.commands.preview import Step, preview_site
    from adapterbook.common.formatting import say

    options: dict[Step, list[str]] = {"pages": ["--source", source, "--seeds", seeds], "site": ["--renderer", renderer]}
    preview_site(_root(), port, options, lambda text: say(console, text))


@app.command(short_help="Put the verified site on the branch gh-pages.")
def publish(
    source: SourceOption = "auto",
    seeds: SeedsOption = "",
    retrain: RetrainOption = "",
    allow: AllowOption = "",
    cell_timeout_s: TimeoutOption = 6 * HOUR_S,
) -> None:
    """Put _site/ on the branch gh-pages of origin, if every number passes verification; retrains only with RETRAIN."""
    from adapterbook.commands.publish import publish_site

    allowed = allow.replace(",", " ").split()
    publish_site(_root(), source, read_seeds(seeds), retrain.strip(), allowed, cell_timeout_s, console)


@app.command(short_help="Write all curves and results for another tool.")
def export(to: ToolOption = "", source: SourceOption = "auto", seeds: SeedsOption = "") -> None:
    """Write curves, results and settings of every completed run into export-csv/ or export-tensorboard/."""
    from adapterbook.commands.export import export_runs

    folder, n_runs = export_runs(_root(), source, read_seeds(seeds), to.strip())
    print(f"{n_runs} runs: {folder.name}/")


@app.command(name="install-quarto", hidden=True)
def install_quarto() -> None:
    """Install the quarto-cli package where its download can be reached; `make setup` calls this."""
    from adapterbook.site.quarto import install_quarto

    install_quarto(_root() / "requirements-quarto.txt")


@app.command(short_help="Write the JSON schema of record.json.")
def schema() -> None:
    """Write the JSON schema of record.json to experiments/record.schema.json."""
    import json

    from adapterbook.common.files import write_atomically
    from adapterbook.runs.record import record_schema

    text = json.dumps(record_schema(), indent=2, ensure_ascii=False) + "\n"
    write_atomically(_root() / "experiments" / "record.schema.json", text)


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
        message = describe_os_error(error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. Finished runs are kept; `make all` continues from there.", file=sys.stderr)
        sys.exit(130)


def describe_os_error(error: OSError) -> str | None:
    """Return what is wrong with a disk or a folder, and what helps; None: the error is something else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full ({error.strerror}): make room, and run the same command again."
    if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not isinstance(error.filename, str):
        return None
    path, here = Path(error.filename), Path.cwd()
    if path.is_relative_to(here):
        remedy = "give yourself the right to write there, or copy the project into a folder of your own"
        return f"{path.relative_to(here).as_posix()} cannot be written or read ({error.strerror}): {remedy}."
    settings = "TMPDIR= names another folder for temporary files, ADAPTERBOOK_CACHE= and HF_HOME= for caches"
    return f"{path.name} outside the project cannot be written or read ({error.strerror}): {settings}."


def _interrupt(number: int, frame: Any) -> None:
    """Stop once: a second Ctrl-C must not interrupt the stopping of the kernels."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, lambda *_: None)  # not SIG_IGN: Python would warn of a signal that is already pending
    raise KeyboardInterrupt


def _root() -> Path:
    """Change to the project's folder, this one or the nearest above it, update its shared files, and return it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "experiments").is_dir() and any((folder / name).exists() for name in ("_quarto.yml", "book.yaml")):
            from adapterbook.commands.shared_files import copy_shared_files
            from adapterbook.config.paths import Paths

            os.chdir(folder)
            moved = use_writable_home(folder)
            if moved:
                print(moved, file=sys.stderr)
            copy_shared_files(Paths(folder))
            return folder
    raise AdapterBookError(f"{here} is not inside an AdapterBook project: no experiments/ and book.yaml found.")
