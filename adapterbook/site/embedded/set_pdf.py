"""A program of its own: set one Typst file as a PDF, and end.

Typst keeps what it worked out for a document as long as its process lives, hundreds of megabytes for a large study; so
each document gets a process. Called as ``set_pdf.py <folder> <file.typ> <file.pdf>``; Typst reads nothing outside the
folder, and takes its fonts from ``fonts/`` there. What it complains of goes to stderr, with exit status 1.
"""

import sys
from pathlib import Path

import typst


def main(folder: str, source: str, output: str) -> str | None:
    """Set `source`, and return Typst's complaint, if it has one."""
    try:
        typst.compile(
            source,
            output=output,
            root=folder,
            font_paths=[str(Path(folder) / "fonts")],
            ignore_system_fonts=True,  # the same fonts everywhere give the same pages everywhere
        )
    except typst.TypstError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
