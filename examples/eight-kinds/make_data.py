"""Write data/train.parquet: sentences of eight kinds, from the package that the embedded data sets come from.

A kind is where a sentence was written and whether people rated it above or below zero: 1,200 sentences of each.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from adapterbook.sources.packages import DATASET, EMBEDDED, materialise

PLACES = {"tweets": "tweet", "nytEditorialSnippets": "editorial", "movieReviewSnippets": "film",
          "amazonReviewSnippets": "product"}  # fmt: skip
N_OF_A_KIND = 1200
NAME = "embedded/snippets-of-eight-kinds"


def write_kinds(sdist: Path, folder: Path) -> None:
    """Convert the package's rated sentences."""
    with tarfile.open(sdist) as outer:
        packed = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        assert packed is not None
        content = packed.read()
    parts = []
    with tarfile.open(fileobj=io.BytesIO(content)) as inner:
        for file, place in PLACES.items():
            rated = inner.extractfile(f"hutto_ICWSM_2014/{file}_GroundTruth.txt")
            assert rated is not None
            rows = [line.removesuffix("\r").split("\t") for line in rated.read().decode("utf-8").split("\n") if line]
            table = pd.DataFrame(rows, columns=["id", "rating", "text"]).astype({"rating": float})
            for tone, chosen in (("negative", table["rating"] < 0), ("positive", table["rating"] > 0)):
                parts.append(table[chosen].head(N_OF_A_KIND).assign(label=f"{place}_{tone}")[["text", "label"]])
    pd.concat(parts).to_parquet(folder / "train.parquet", index=False)


if __name__ == "__main__":
    EMBEDDED[NAME] = replace(EMBEDDED[DATASET], convert=write_kinds)  # the same file, with its hash
    made = materialise(NAME) / "train.parquet"
    target = Path(__file__).parent / "data"
    target.mkdir(exist_ok=True)
    shutil.copy(made, target)
    print(f"data/train.parquet: {len(pd.read_parquet(made)):,} sentences of {2 * len(PLACES)} kinds")
