"""The commands and code in README and docs run; every command, option and name is documented."""

import json
import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import click
import pytest
from command_server import install, serving
from conftest import ROOT

from ragicl.backends.defaults import SMOLLM2
from ragicl.cli.main import main

DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", DOCS / "quickstart.md", *sorted(DOCS.rglob("*.md"))]
}
README = PAGES["README.md"]
DESIGN = PAGES["docs/design.md"]
PLUGIN = PAGES["docs/backends.md"]
COMMANDS = sorted(main.commands)
OPTIONS = {
    name
    for command in main.commands.values()
    for option in command.params
    if isinstance(option, click.Option) and not option.hidden
    for name in option.opts
}
OF_OTHERS = {"--preload", "--pool", "--help", "--version", "--no-deps"}
LABELS = (
    *("damaged item", "late delivery", "payment declined", "discount code"),
    *("cancel order", "cancel subscription", "password reset", "refund status"),
)
PER_LABEL = 12


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the blocks of a page that run, in order, with their languages."""
    found = re.findall(r"^```(bash|python)\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)
    return [(language, code) for language, code in found if not code.startswith(("make ", "pip "))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the user's files that the pages name, and fewer rows in them."""
    folder = tmp_path_factory.mktemp("docs")
    demo = ROOT / "eval" / "demo"
    chosen: dict[str, list[str]] = {label: [] for label in LABELS}
    for line in (demo / "train.jsonl").read_text().splitlines(keepends=True):
        chosen.get(json.loads(line)["label"], []).append(line)
    rows = [line for some in chosen.values() for line in some[:PER_LABEL]]
    (folder / "support.jsonl").write_text("".join(rows))
    lines = (demo / "test.jsonl").read_text().splitlines(keepends=True)
    known = [line for line in lines if json.loads(line)["label"] in LABELS]
    (folder / "test.jsonl").write_text("".join(known[:6]))
    return folder


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    """The folder that the plugin of docs/backends.md was installed into."""
    source = tmp_path_factory.mktemp("plugin")
    titled = re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```', PLUGIN, re.DOTALL | re.MULTILINE)
    assert {name for name, _ in titled} == {"pyproject.toml", "ragicl_trigrams.py"}
    for name, text in titled:
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    installed = source / "installed"
    done = subprocess.run([*pip, "--target", installed, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return installed


@pytest.mark.packaged
@pytest.mark.slow
@pytest.mark.skipif(SMOLLM2.path() is None, reason="the packaged language model is not installed")
def test_blocks_run_as_written(folder, plugin, tmp_path):
    install(tmp_path)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": f"{plugin}:{os.environ.get('PYTHONPATH', '')}",
    }
    with serving(tmp_path):
        seen: set[str] = set()
        for page in PAGES:
            for language, code in blocks(page):
                if (code := _unseen(code, seen)) == "":
                    continue
                command = ["bash", "-euc", code] if language == "bash" else ["python", "-c", code]
                done = subprocess.run(
                    command, cwd=folder, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{page}\n{code}\n{done.stderr}"
                assert language == "bash" or done.stdout.strip(), f"{page} prints nothing:\n{code}"
    assert len((folder / "predicted.jsonl").read_text().splitlines()) == 6
    assert (folder / "reports" / "support" / "report.html").exists()


def test_make_targets_exist():
    targets = set(re.findall(r"^make (\w+)|`make (\w+)`", "\n".join(PAGES.values()), re.MULTILINE))
    named = {target for pair in targets for target in pair if target}
    assert {"demo", "test", "docs"} <= named
    makefile = (ROOT / "Makefile").read_text()
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_readme_is_short():
    assert len(README) <= 6500


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_documented(name):
    command = main.commands[name]
    assert f"`ragicl {name}" in README or f"`{name}`" in README
    assert any(f"ragicl {name} " in page for page in PAGES.values())
    assert f"ragicl {name} " in command.help, "no example"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("page", PAGES)
def test_names_no_unknown_command_or_option(page):
    text = PAGES[page]
    known = OPTIONS | OF_OTHERS
    for command, rest in re.findall(r"`ragicl (\w+)([^\n`|]*)", text):
        assert command in {*COMMANDS, "COMMAND"}, command
        assert set(re.findall(r"--[\w-]+", rest)) <= known, rest
    for code in re.findall(r"```(?:bash|console)\n(.*?)```", text, re.DOTALL):
        assert set(re.findall(r"(?<=\s)--[a-z][\w-]*", code)) <= known, code
        assert set(re.findall(r"^ragicl (\w+)", code, re.MULTILINE)) <= {*COMMANDS}, code
    assert set(re.findall(r"`(--[\w-]+)", text)) <= known


def test_pages_name_files_that_exist():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if not target.startswith("http") and not target.startswith("results/"):
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_generated_parts_are_known():
    hooks = _hooks()
    for page, text in PAGES.items():
        assert set(hooks.MARK.findall(text)) <= set(hooks.PARTS), page
    assert set(re.findall(r"`(--[\w-]+)`", hooks.commands())) >= OPTIONS
    assert "| `--k` | `k` | retrieval |" in hooks.options()


def test_every_public_name_is_documented():
    hooks = _hooks()
    assert hooks.undocumented(hooks.filled(PAGES["docs/reference/api.md"])) == []


def test_every_package_has_a_sentence():
    package = ROOT / "ragicl"
    folders = [p.parent for p in package.rglob("__init__.py") if p.parent != package]
    names = [f"{folder.relative_to(package)}/" for folder in folders]
    names += [path.name for path in package.glob("*.py")]
    described = dict(re.findall(r"^\| `([\w/.]+)` \| (.+\.) \|$", DESIGN, re.MULTILINE))
    assert set(described) == set(names)


def _unseen(code: str, seen: set[str]) -> str:
    """Return a block without the lines that an earlier one has run, as far as each is a command."""
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
    if not all(line.startswith(("ragicl ", "echo ")) for line in lines):
        return code
    new = [line for line in lines if line.partition("  #")[0].rstrip() not in seen]
    seen |= {line.partition("  #")[0].rstrip() for line in lines}
    return "\n".join(new)


def _hooks():
    spec = spec_from_file_location("generate", DOCS / "hooks" / "generate.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
