"""What mkdocs makes from the code: the commands, the options, the measured results' pages.

A page asks for a generated part by a comment, ``<!-- generated: commands -->``. The results stay
in ``eval/results``; links to them in the pages are those that hold in the repository.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import cleandoc, getdoc
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import ragicl
from ragicl.cli.main import main
from ragicl.policy import option_fields

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ragicl"
TEMPLATE = PACKAGE / "prompting" / "template.py"
RESULTS = ROOT / "eval" / "results"
MARK = re.compile(r"<!-- generated: (\w+) -->")
PUBLIC = ("ragicl", "ragicl.evaluate")
API = "reference/api.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the measured results, with their plots, as pages under ``results/``."""
    from mkdocs.structure.files import File

    for path in [*RESULTS.glob("*.md"), *RESULTS.glob("plots/*.svg")]:
        place = f"results/{path.relative_to(RESULTS).as_posix()}"
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the generated parts in, and turn links to ``eval/results`` into links to its pages.

    :raises ValueError: where the page of the API lacks a public name
    """
    markdown = filled(markdown)
    if page.file.src_uri == API and (missing := undocumented(markdown)):
        raise ValueError(f"{API} does not document {', '.join(missing)}")
    return markdown.replace("](../eval/results/", "](results/").replace(
        "](../../eval/results/", "](../results/"
    )


def filled(markdown: str) -> str:
    """Return a page with its generated parts."""
    return MARK.sub(lambda mark: PARTS[mark[1]](), markdown)


def undocumented(page: str) -> list[str]:
    """Return the public names that have no docstring, or no entry on the page of the API."""
    found = []
    for package in map(import_module, PUBLIC):
        for name in package.__all__:
            entry = f"::: {package.__name__}.{name}\n"
            if entry not in page or not getdoc(getattr(package, name)):
                found.append(f"{package.__name__}.{name}")
    return found


def commands() -> str:
    """Return the reference of all commands, as click knows them."""
    return "\n".join(_command(name, command) for name, command in sorted(main.commands.items()))


def options() -> str:
    """Return a table of a policy's fields, each with its option."""
    lines = ["| option | field | part | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for own in option_fields().values():
        choices = f" One of {', '.join(f'`{c}`' for c in own.choices)}." if own.choices else ""
        cells = (f"`{own.flag}`", f"`{own.name}`", own.part, own.default_text)
        lines.append(f"| {' | '.join(cells)} | {own.spec.help}{choices} |")
    return "\n".join(lines) + "\n"


def modules() -> str:
    """Return every module of the package with the first line of its docstring."""
    lines = ["| module | |", "| --- | --- |"]
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__init__.py":
            summary = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
            lines.append(f"| `{path.relative_to(PACKAGE)}` | {summary} |")
    return "\n".join(lines) + "\n"


def protocols() -> str:
    """Return an entry of the API for each protocol that another package may satisfy."""
    places = [PACKAGE / "protocols.py", *sorted(PACKAGE.rglob("base.py")), TEMPLATE]
    return "\n".join(entry for path in places for entry in _entries(path, _is_protocol))


def stand_ins() -> str:
    """Return an entry of the API for each backend that stands in for a real one in tests."""
    places = PACKAGE.glob("backends/fake.py")
    fakes = (_entries(path, lambda kind: kind.name.startswith("Fake")) for path in places)
    return "\n".join(chain.from_iterable(fakes))


def errors() -> str:
    """Return an entry of the API for each public error."""
    names = [name for name in ragicl.__all__ if name.endswith("Error")]
    return "\n".join(f"::: ragicl.{name}\n" for name in names)


def _entries(path: Path, wanted: Callable[[ast.ClassDef], bool]) -> Iterator[str]:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for kind in ast.parse(path.read_text()).body:
        if isinstance(kind, ast.ClassDef) and wanted(kind):
            yield f"::: {module}.{kind.name}\n"


def _is_protocol(kind: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in kind.bases)


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"ragicl {name}")
    own = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    return "\n".join(
        [
            f"## {name}\n",
            f"```text\n{command.get_usage(context)}\n```\n",
            _help(command.help or ""),
            "",
            _table(own) if own else "It has no options.\n",
        ]
    )


def _help(text: str) -> str:
    """Return a command's help as Markdown: click's unwrapped parts are its examples."""
    lines = []
    for part in cleandoc(text).split("\n\n"):
        first, _, rest = part.strip().partition("\n")
        lines.append(f"```console\n{rest}\n```\n" if first == "\b" else f"{part}\n")
    return "\n".join(lines)


def _table(rows: list[click.Option]) -> str:
    lines = ["| option | value | default | meaning |", "| --- | --- | --- | --- |"]
    for option in rows:
        cells = (_names(option), _value(option), *_meaning(option))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _names(option: click.Option) -> str:
    return ", ".join(f"`{name}`" for name in option.opts)


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    if option.metavar:
        return f"`{option.metavar}`"
    return {"integer range": "integer", "float range": "number", "float": "number"}.get(
        option.type.name, option.type.name
    )


def _meaning(option: click.Option) -> tuple[str, str]:
    """Return the default and the help; what stands for a default is in brackets at the end."""
    text, bracket, rest = (option.help or "").partition("  [")
    default = rest.rstrip("]") if bracket else ""
    if not default and option.show_default and option.default is not None:
        default = f"`{option.default}`"
    return default, text.replace("|", "\\|").replace("{", "&#123;")


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "errors": errors,
    "modules": modules,
    "options": options,
    "protocols": protocols,
    "stand_ins": stand_ins,
}
