"""Every option of every command with odd values: it works, or says in one line what is wrong."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from cli_runner import LM, fails, misused, run
from click.testing import CliRunner

from ragicl import Index, StoreError
from ragicl.cli.main import main

VALUES = ["-1", "0", "nan", "inf", "1e400", str(2**63 - 1), str(10**30), "", " ", "a\nb", "\udcff",
          "=", ",", '"', "{input}", "é日本"]  # fmt: skip
HEAVY = {"tune", "bench", "explain", "plan"}  # the least values suffice for these
FAST = ["-1", "nan", str(2**63 - 1), "", "a\nb", "\udcff"]
ARGUMENTS = {
    "index": ["things.jsonl"],
    "info": ["indexes/things"],
    "add": ["indexes/things", "things.jsonl"],
    "remove": ["indexes/things", "nothing"],
    "update": ["indexes/things", "things.jsonl"],
    "predict": ["indexes/things", "a sweet apple"],
    "prompt": ["indexes/things", "a sweet apple"],
    "explain": ["indexes/things", "a sweet apple"],
    "tune": ["indexes/things", "--minutes", "0.0001"],
    "audit": ["indexes/things"],
    "suggest": ["things.jsonl", "--encoder", "fake:a", "--n", "2"],
    "evaluate": ["indexes/things", "--test", "nowhere.jsonl", "--out", "report"],
    "bench": ["indexes/things", "--queries", "2"],
    "plan": ["indexes/things"],
}


def options_of(name: str) -> list[click.Option]:
    own = main.commands[name].params
    return [o for o in own if isinstance(o, click.Option) and not o.is_flag]


def cases() -> list[tuple[str, click.Option]]:
    return [(name, option) for name in main.commands for option in options_of(name)]


def test_every_command_is_tried() -> None:
    assert set(ARGUMENTS) == set(main.commands)


def usual(name: str, odd: click.Option) -> list[str]:
    """Return options that keep a run short, but for the odd one."""
    known = {o for option in options_of(name) for o in option.opts}
    wanted = [*LM, "--encoder", "fake:a", "--decide", "knn" if name != "explain" else "lm"]
    pairs = zip(wanted[::2], wanted[1::2], strict=True)
    return [v for pair in pairs if pair[0] in known and pair[0] not in odd.opts for v in pair]


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize(
    ("name", "option"), cases(), ids=lambda own: own if isinstance(own, str) else own.opts[0]
)
def test_odd_values_end_in_one_line(name: str, option: click.Option) -> None:
    for value in FAST if name in HEAVY else VALUES:
        arguments = [name, *ARGUMENTS[name], *usual(name, option), option.opts[0], value]
        result = CliRunner().invoke(main, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"{arguments}: {result.exception!r}") from result.exception
        assert result.exit_code in (0, 1, 2), arguments
        if result.exit_code:
            last = result.stderr.rstrip("\n").rpartition("Error: ")[2]
            assert last, arguments
            assert "\n" not in last, arguments
            assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["index", "info", "predict", "audit", "evaluate"])
def test_an_empty_path_is_not_the_folder_one_is_in(things: Path, name: str) -> None:
    before = set(Path.cwd().iterdir())
    misused(name, *ARGUMENTS[name], "--out", "", match="the path is empty")
    assert set(Path.cwd().iterdir()) == before


def test_labels_may_stand_on_lines(things: Path) -> None:
    asked = ["predict", things, "a sweet apple", "--decide", "knn", "--labels"]
    assert run(*asked, "fruit\ntool").stdout
    fails(*asked, '"fruit\nor", tool', match="has the label 'fruit")
    fails(*asked, "fruit\nnone", match="has the label 'none'")


UNNAMEABLE = {
    "x" * 70_000: "is too long",
    "/".join(["y" * 200] * 350): "is too long",
    "bytes-\udcff": "is not UTF-8",
    "zero\0byte": "holds a zero byte",
}


@pytest.mark.parametrize("path", UNNAMEABLE, ids=["name", "path", "bytes", "zero"])
def test_a_path_that_cannot_be_is_refused_before_any_work(things: Path, path: str) -> None:
    why = UNNAMEABLE[path]
    misused("index", "things.jsonl", "--encoder", "no:such", "--out", path, match=why)
    misused("evaluate", things, "--test", "nowhere.jsonl", "--out", path, match=why)
    misused("predict", things, "a saw", "--lm", "no:such", "--out", f"{path}.jsonl", match=why)
    misused("audit", "nowhere", "--out", f"{path}.csv", match=why)
    for command in (["info"], ["suggest", "nowhere.jsonl", "--index"]):
        misused(*command, path, match=why)
    for open_it in (Index.open, Index.create):
        with pytest.raises(StoreError, match=why) as caught:
            open_it(path)
        assert len(str(caught.value)) < 300


def test_a_long_name_of_data_is_not_repeated_whole(things: Path) -> None:
    result = run("predict", things, "--file", "x" * 70_000, "--decide", "knn", code=1)
    assert len(result.stderr) < 500


def test_half_characters_are_refused_before_any_work(things: Path) -> None:
    fails("remove", things, "half-\udcff", match="there is no example with id 'half-")
    asked = ["predict", things, "a saw", *LM]
    fails(*asked, "--instruction", "half \udcff", match="half a character")
    fails(*asked, "--template", "{input} \udcff {output}", match="half a character")
    with Index.open(things) as index:
        assert index.get(["\udcff"]) == index.known_vectors(["\udcff"]) == {}
