"""Upload each adapter's best run to a repository on the Hugging Face Hub: `make push-adapters`.

A run that is failed or stale, or does not match its record, is left out. Messages hold no token, and nothing of an
answer, which could hold one. The model card was written when the run was sealed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from adapterbook.analysis import analyse
from adapterbook.analysis.shapes import AdapterReport, Report
from adapterbook.common.errors import AdapterBookError
from adapterbook.common.formatting import format_number, say
from adapterbook.config.paths import Paths
from adapterbook.runs.model_card import CARD
from adapterbook.runs.record import Record
from adapterbook.runs.select import choose_results, choose_source, compute_statuses, load_project, recorded_seeds
from adapterbook.sources.hub import explain_error, hub_errors, without_xet
from adapterbook.sources.resolve import resolve_source
from adapterbook.verification.findings import Finding, find_links, find_wrong_files

FILES: Final = (CARD, "adapter_config.json", "adapter_model.safetensors")  # all required in the adapter's folder
LIMIT_S: Final = 30.0  # for each read and write; the client tries again a few times


@dataclass(frozen=True)
class Upload:
    """Describe the upload of one adapter.

    Attributes
    ----------
    repository : str
        ``<namespace>/<prefix>-<adapter>``, or without a namespace what follows the slash.
    record : Record
        Record of the uploaded run.
    files : dict
        Local files by their names in the repository.
    """

    repository: str
    record: Record
    files: dict[str, Path]


def push_adapters(
    root: Path,
    source: str,
    seeds: Sequence[int] | None,
    namespace: str,
    prefix: str,
    console: Console,
    *,
    private: bool = False,
    dry_run: bool = False,
) -> int:
    """Upload each adapter's best run; return the exit status, 1 where an adapter was left out.

    Parameters
    ----------
    namespace : str
        A user or an organisation on the Hub; may be empty for a dry run.
    prefix : str
        What the repositories' names begin with.
    private : bool
        Whether new repositories are private; an existing one stays as it is.
    dry_run : bool
        Only say what would be uploaded, without the Hub and without a token.

    Raises
    ------
    AdapterBookError
        If there is no namespace or no token, nothing to upload, or the Hub refuses.
    """
    paths = Paths(root)
    study, adapters = load_project(paths)
    name = choose_results(paths, source)
    resolved = resolve_source(source if source != "auto" else choose_source(paths, name), paths)
    planned = seeds or recorded_seeds(paths, name) or study.seeds
    study, statuses = compute_statuses(paths, study, adapters, name, planned, resolved)
    report = analyse(statuses, paths, study, adapters, {})
    uploads, problems = plan_uploads(report, paths, namespace, prefix)
    _check_names(uploads)
    say(
        console,
        "To the Hub, each with its model card and its record:" if uploads else "No adapter can be uploaded.",
    )
    for upload in uploads:
        assert upload.record.test is not None
        accuracy = format_number(upload.record.test.accuracy, "percent", "en")
        say(console, f"  {upload.repository}  from {upload.record.run_id}, test accuracy {accuracy}")
    if problems:
        say(console, "Left out:")
    for problem in problems:
        say(console, f"  - {problem}")
    if dry_run:
        say(console, "DRY_RUN: nothing was uploaded.")
    elif uploads:
        _upload_all(uploads, namespace, private, console)
    return 1 if problems else 0


def plan_uploads(report: Report, paths: Paths, namespace: str, prefix: str) -> tuple[list[Upload], list[str]]:
    """Return the uploads, one run for each adapter but the baselines, and why the other adapters have none.

    The run is the first completed seed of the adapter's best variant by validation, or else of the submitted variant.
    """
    uploads, problems = [], []
    for adapter in report.adapters.values():
        if adapter.baseline is not None:
            continue
        found = _find_run(adapter, paths)
        if isinstance(found, str):
            problems.append(f"{adapter.id}: {found}")
            continue
        record, folder = found
        repository = "/".join(filter(None, (namespace, f"{prefix}-{adapter.id}" if prefix else adapter.id)))
        files = {name: folder / "adapter" / name for name in FILES} | {"record.json": folder / "record.json"}
        uploads.append(Upload(repository, record, files))
    return uploads, problems


def _find_run(adapter: AdapterReport, paths: Paths) -> tuple[Record, Path] | str:
    """Return the record and the folder of the run to upload, or why there is none."""
    group = adapter.best or adapter.submitted
    run = None if group is None else group.representative
    if run is None or run.record is None:
        return "it has no completed run: run `make train`"
    if run.stale:
        return f"{run.id} is stale ({', '.join(run.stale)}): run `make train`"
    folder = run.run.folder(paths)
    findings: list[Finding] = find_links(run.run, paths) or find_wrong_files(run.record, folder)
    if findings:
        return f"{findings[0]}{f', and {len(findings) - 1} more' if len(findings) > 1 else ''}: run `make verify`"
    missing = [name for name in FILES if not (folder / "adapter" / name).is_file()]
    if missing:
        return f"{run.id} has no adapter/{missing[0]}: delete its folder and run `make train`"
    return run.record, folder


def _check_names(uploads: Sequence[Upload]) -> None:
    """Check that the Hub accepts every repository's name.

    Raises
    ------
    AdapterBookError
        Naming those that it does not accept.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    problems = []
    for upload in uploads:
        try:
            validate_repo_id(upload.repository)
        except HFValidationError as error:
            problems.append(" ".join(str(error).split()))
    if problems:
        raise AdapterBookError("NAMESPACE and REPO_PREFIX give names that the Hub does not accept:", problems)


def _upload_all(uploads: Sequence[Upload], namespace: str, private: bool, console: Console) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token

    if not namespace:
        raise AdapterBookError(
            "NAMESPACE is missing: expected your name on the Hub, or that of an organisation, such as "
            "`make push-adapters NAMESPACE=ming`. DRY_RUN=yes only shows what would be uploaded."
        )
    token = get_token()
    if token is None:
        raise AdapterBookError(
            "The Hub needs a token with write access: make one at https://huggingface.co/settings/tokens, and run "
            "`.venv/bin/hf auth login`, or set HF_TOKEN."
        )
    api, done = HfApi(token=token), 0
    with _patient_client():
        for upload in uploads:
            try:
                api.create_repo(upload.repository, private=private, exist_ok=True)
                operations = [CommitOperationAdd(name, path) for name, path in upload.files.items()]
                api.create_commit(upload.repository, operations, commit_message=f"AdapterBook, {upload.record.run_id}")
            except hub_errors() as error:
                # Not from the error: its text may hold any answer of the Hub.
                remedy = f"{done} of {len(uploads)} adapters were uploaded; run the same command again for the rest."
                problem = f"{upload.repository} cannot be uploaded: {_explain(error, namespace)}. {remedy}"
                raise AdapterBookError(problem) from None
            done += 1
            say(console, f"Uploaded: {constants.ENDPOINT}/{upload.repository}")


@contextmanager
def _patient_client() -> Iterator[None]:
    """Upload over plain HTTP, without progress bars, and with time limits, which the client itself lacks."""
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from adapterbook.sources.hub_patience import ProxySettingError, open_session

    disable_progress_bars()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        hooks = open_session().event_hooks
    except ProxySettingError as error:
        raise AdapterBookError(f"Nothing was uploaded: {error}.") from None
    set_client_factory(lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=LIMIT_S))
    with without_xet():
        yield


def _explain(error: BaseException, namespace: str) -> str:
    """Return in one line why an upload failed."""
    status = _status_of(error)
    if status in (401, 403):
        return f"the Hub refuses ({status}): is the token valid, and may it write to {namespace}?"
    # An upload does not use the cache.
    return explain_error(error).removeprefix("not in the Hub's cache, and ")


def _status_of(error: BaseException | None) -> int | None:
    """Return the status code of the answer behind an error, if there is one."""
    seen = 0
    while error is not None and seen < 10:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None
