"""Training data of Rasa NLU in YAML: intents, each with a list of examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragicl.data.opening import opened
from ragicl.data.rows import Notify, Row
from ragicl.errors import DataError, first_line, require

_ENTITY = re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\{[^}]*\})")


def rasa_rows(path: Path, name: str, notify: Notify) -> Iterator[Row]:
    """Yield an example for each text of each intent; entities are left as their plain words."""
    require("rasa", f"reading the YAML file {name}", "yaml")
    import yaml

    with opened(path, name, notify) as file:
        try:
            loaded = yaml.safe_load(file)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise DataError(f"{name}: not valid YAML ({first_line(error)})") from error
    nlu = loaded.get("nlu") if isinstance(loaded, dict) else None
    if not isinstance(nlu, list):
        raise DataError(f"{name}: no list 'nlu'; of YAML files, training data of Rasa are read")
    notify(f"{name}: is read as training data of Rasa: examples, and intent")
    number = 0
    for entry in nlu:
        if isinstance(entry, dict) and "intent" in entry:  # others are synonyms and look-up tables
            for text in _texts(entry.get("examples")):
                number += 1
                yield f"{name}: row {number}", {"text": text, "label": entry["intent"]}


def _texts(examples: Any) -> Iterator[Any]:
    if isinstance(examples, str):
        lines = (line.strip() for line in examples.splitlines())
        yield from (_plain(line[1:].strip()) for line in lines if line.startswith("-"))
    for example in examples if isinstance(examples, list) else ():
        text = example.get("text") if isinstance(example, dict) else example
        yield _plain(text.strip().removeprefix("-").strip()) if isinstance(text, str) else text


def _plain(text: str) -> str:
    return _ENTITY.sub(r"\1", text)
