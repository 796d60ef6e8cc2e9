"""Read the words that pages and figures are written with, both languages side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from unicodedata import east_asian_width

from adapterbook.common.errors import ConfigError
from adapterbook.common.formatting import Language
from adapterbook.common.yaml_files import load_yaml, validate
from adapterbook.config.study import Settings, Text

PLACE: Final = re.compile(r"\{([a-z_]+)\}")


class Phrases(Settings):
    """All words of ``phrases.yaml``."""

    figures: dict[str, dict[str, Text]]

    def figure(self, key: str, places: Mapping[str, str], language: Language) -> str:
        """Return a phrase of a figure, such as ``batch-size.title``, with its places filled.

        Raises
        ------
        ConfigError
            If there is no such phrase, or it has other places than these.
        """
        figure, _, name = key.partition(".")
        phrase = self.figures.get(figure, {}).get(name)
        if phrase is None:
            raise ConfigError("templates/phrases.yaml is not valid:", [f"figures.{key}: missing"])
        text = phrase.in_language(language)
        found, known = dict.fromkeys(PLACE.findall(text)), ", ".join(f"{{{place}}}" for place in places) or "none"
        problems = [f"lacks the place {{{place}}}" for place in places if place not in found]
        problems += [f"unknown place {{{place}}}; its places: {known}" for place in found if place not in places]
        if problems:
            where = f"figures.{key}.{language}"
            raise ConfigError("templates/phrases.yaml is not valid:", [f"{where}: {problem}" for problem in problems])
        return fill_places(text, places, language)


def fill_places(text: str, places: Mapping[str, str], language: Language) -> str:
    """Return a text with its places filled; in Chinese with a space between Chinese and Latin letters.

    Examples
    --------
    >>> fill_places("{name}從 {first} 開始", {"name": "LoRA 1", "first": "0.7"}, "zh")
    'LoRA 1 從 0.7 開始'
    >>> fill_places("{name}從 {first} 開始", {"name": "只訓練分類頭", "first": "0.7"}, "zh")
    '只訓練分類頭從 0.7 開始'
    """
    filled = ""
    for i, piece in enumerate(PLACE.split(text)):
        part = places[piece] if i % 2 else piece
        if language == "zh" and filled and part and _need_space(filled[-1], part[0]):
            filled += " "
        filled += part
    return filled


def load_phrases(*folders: Path) -> Phrases:
    """Read the words of the first of some folders of templates that has them.

    Raises
    ------
    ConfigError
        Naming every key that is unknown, missing, or lacks a language.
    """
    files = [folder / "phrases.yaml" for folder in folders]
    file = next((file for file in files if file.exists()), files[0])
    return validate(Phrases, load_yaml(file), file)


def _need_space(left: str, right: str) -> bool:
    wide = [east_asian_width(letter) in "WF" for letter in (left, right)]
    chinese, other = (left, right) if wide[0] else (right, left)
    return wide[0] != wide[1] and chinese.isalnum() and not other.isspace()
