"""Set one Typst file as a PDF, in a separate process: ``set_pdf.py <folder> <file.typ> <file.pdf>``.

Typst keeps its intermediate results until its process ends, hundreds of megabytes for a large study, so each document
gets its own process. Typst reads nothing outside the folder, and takes its fonts from ``fonts/`` there. Its complaint
goes to stderr, with exit status 1. A document that cannot be PDF/UA-1, the standard for screen readers, is set without
it: what it lacks goes to stderr, with exit status 0.
"""

import sys
from pathlib import Path
from typing import Literal

import typst

REFUSED = "PDF/UA-1 error"


def main(folder: str, source: str, output: str) -> str | None:
    """Set `source`, and return Typst's complaint, if it has one."""
    try:
        _compile(folder, source, output, "ua-1")
    except typst.TypstError as error:
        if REFUSED not in str(error):
            return str(error)
        sys.stderr.write(str(error))
    else:
        return None
    try:
        _compile(folder, source, output, None)
    except typst.TypstError as error:
        return str(error)
    return None


def _compile(folder: str, source: str, output: str, standard: Literal["ua-1"] | None) -> None:
    typst.compile(
        source,
        output=output,
        root=folder,
        font_paths=[str(Path(folder) / "fonts")],
        ignore_system_fonts=True,  # the same fonts everywhere give the same pages everywhere
        pdf_standards=standard,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
