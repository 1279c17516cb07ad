"""Rows of known tools and data sets whose text and label are not in columns of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ragicl.data.rows import Notify, Row, Values
from ragicl.errors import DataError

USER, ASSISTANT = {"user", "human"}, {"assistant", "gpt"}


def laid_out(rows: Iterator[Row], name: str, notify: Notify) -> Iterator[Row]:
    """Yield rows with a text and a label, where their layout is a known one; others as they are.

    :param name: what the data is called
    """
    for place, values in rows:
        layout = None if isinstance(values, DataError) else _layout(values)
        if layout is None or isinstance(values, DataError):
            yield place, values
        else:
            what, convert = layout
            notify(f"{name}: is read as {what}")
            yield place, convert(values)


def _layout(values: Values) -> tuple[str, Callable[[Values], Values]] | None:
    """Return what the layout of a row is called, and what makes text and label of it."""
    for column, what in CHATS.items():
        if _is_chat(values.get(column)) and "text" not in values:
            return what, partial(_of_chat, column)
    if isinstance(values.get("data"), Mapping) and "text" not in values:
        return "tasks of Label Studio: its text, and its first annotation's choice", _of_task
    if isinstance(values.get("data"), str) and "text" not in values and "label" in values:
        return "rows of doccano: data, and label", _of_doccano
    if {"instruction", "output"} <= set(values) and "text" not in values:
        return "instructions (Alpaca): instruction with input, and output", _of_instruction
    return None


CHATS = {
    "messages": "chats: the last user's turn before the last answer, and that answer",
    "conversations": "chats (ShareGPT): the last human turn before the last answer, and it",
}


def _of_chat(column: str, values: Values) -> Values:
    turns = [(_role(turn), _content(turn)) for turn in values[column]]
    last = max((n for n, (role, _) in enumerate(turns) if role in ASSISTANT), default=len(turns))
    if any(role in USER for role, _ in turns[last + 1 :]):  # a question that waits for its answer
        last = len(turns)
    asked = [content for role, content in turns[:last] if role in USER]
    text, label = asked[-1] if asked else None, turns[last][1] if last < len(turns) else None
    return {"text": text, "label": label} | _others(values, column)


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and _role(turn) is not None for turn in value)
    )


def _role(turn: Mapping[str, Any]) -> Any:
    return turn.get("role", turn.get("from"))


def _content(turn: Mapping[str, Any]) -> Any:
    """Return what a turn says; of one in parts, the parts that are text."""
    content = turn.get("content", turn.get("value"))
    if not isinstance(content, list):
        return content
    return "\n".join(part["text"] for part in content if isinstance(part, dict) and "text" in part)


def _of_instruction(values: Values) -> Values:
    parts = [values["instruction"], values.get("input")]
    if all(isinstance(part, str | None) for part in parts):
        text: Any = "\n".join(part for part in parts if part and part.strip())
    else:
        text = values["instruction"]
    return {"text": text, "label": values["output"]} | _others(
        values, "instruction", "input", "output"
    )


def _of_doccano(values: Values) -> Values:
    return {"text": values["data"]} | _others(values, "data")


def _of_task(values: Values) -> Values:
    """Return a task's data as columns, its text as text and the first annotation's choice."""
    data = dict(values["data"])
    texts = [column for column in data if column == "text"] or [
        column for column, value in data.items() if isinstance(value, str)
    ]
    text = {"text": data.pop(texts[0])} if len(texts) == 1 else {}
    choices = _choices(values.get("annotations") or values.get("completions"))
    row = text | {"label": choices} | {key: data[key] for key in data if key not in text}
    return row | ({"id": values["id"]} if "id" in values else {})


def _choices(annotations: Any) -> Any:
    """Return the choices of the first annotation that was not cancelled; None without one."""
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        for result in results if isinstance(results, list) else ():
            value = result.get("value") if isinstance(result, Mapping) else None
            if isinstance(value, Mapping) and "choices" in value:
                return value["choices"]
    return None


def _others(values: Values, *columns: str) -> dict[str, Any]:
    return {column: value for column, value in values.items() if column not in columns}
