"""The README's commands and code run; every command is documented."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import ROOT

from ragicl.backends.defaults import SMOLLM2
from ragicl.cli.main import main

README = (ROOT / "README.md").read_text()
COMMANDS = sorted(main.commands)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    demo = ROOT / "eval" / "demo"
    shutil.copy(demo / "train.jsonl", folder / "support.jsonl")
    lines = (demo / "test.jsonl").read_text().splitlines(keepends=True)
    (folder / "test.jsonl").write_text("".join(lines[:6]))
    return folder


@pytest.mark.packaged
@pytest.mark.slow
@pytest.mark.skipif(SMOLLM2.path() is None, reason="the packaged language model is not installed")
def test_readme_runs_as_written(folder):
    scripts = [b for b in blocks("bash") if b.startswith("ragicl ")]
    assert scripts
    bin_folder = Path(sys.executable).parent
    for script in scripts:
        shell = f"set -eu; PATH={bin_folder}:$PATH\n{script}"
        done = subprocess.run(["bash", "-c", shell], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert len((folder / "predicted.jsonl").read_text().splitlines()) == 6
    for number, code in enumerate(blocks("python")):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, (number, done.stderr)
        assert done.stdout.strip()


def test_readme_make_targets_exist():
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_documented(name):
    command = main.commands[name]
    assert f"`ragicl {name}" in README
    assert f"ragicl {name} " in command.help, "no example"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_readme_names_no_unknown_command_or_option():
    known = {o for c in main.commands.values() for p in c.params for o in p.opts} | {"--help"}
    for line in re.findall(r"ragicl (\w+)([^\n`|]*)", "\n".join(blocks("bash")) + README):
        command, rest = line
        if command in COMMANDS:
            assert set(re.findall(r"--[\w-]+", rest)) <= known, line
