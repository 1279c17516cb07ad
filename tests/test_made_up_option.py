"""One line in the policy makes an option: it is found everywhere that options are."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

LINE = '    made_up: int = option(3, "A made-up option.", tunable=True, least=1)\n'
HELP = "A made-up option.  [tuned, or 3]"
ROWS = [
    {"text": f"{words} {n}", "label": label}
    for label, words in (("fruit", "sweet ripe apple"), ("tool", "sharp steel saw"))
    for n in range(8)
]
LM = ("--lm", "fake:2000")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with a copy of the package whose policy has one more line."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "ragicl", folder / "ragicl")
    policy = folder / "ragicl" / "policy.py"
    before = policy.read_text()
    after = re.sub(r"(    k: int = option\(.*?\n    \)\n)", rf"\1{LINE}", before, flags=re.DOTALL)
    assert len(after) == len(before) + len(LINE)
    policy.write_text(after)
    (folder / "things.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = ran(folder, "-m", "ragicl", "index", "things.jsonl", "--encoder", "fake:a")
    assert done.returncode == 0, done.stderr
    return folder


def ran(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
    )


def command(folder, *arguments):
    done = ran(folder, "-m", "ragicl", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_has_it(copy):
    for name in ("predict", "prompt", "explain", "evaluate", "bench"):
        shown = " ".join(command(copy, name, "--help").split())
        assert f"--made-up INTEGER {' '.join(HELP.split())}" in shown, name


def test_the_policy_checks_it_and_the_estimator_passes_it_on(copy):
    code = (
        "from ragicl import Policy, TaskError\n"
        "from ragicl.backends.fake import FakeEncoder, FakeLM\n"
        "from ragicl.integrations.sklearn import ICLClassifier\n"
        "try:\n    Policy(made_up=0)\nexcept TaskError as error:\n    print(error)\n"
        "own = ICLClassifier(FakeEncoder(), FakeLM())\n"
        "print(own.get_params()['made_up'])\n"
        "own.set_params(made_up=5).fit(['sweet apple', 'steel saw'], ['fruit', 'tool'])\n"
        "print(own.engine_.policy.retrieval.made_up)\n"
    )
    done = ran(copy, "-c", code)
    assert done.stdout.splitlines() == ["made_up is 0; it must be 1 or more", "3", "5"], done.stderr


def test_the_manifest_of_a_tuned_index_has_it(copy):
    folder = copy / "indexes" / "things"
    command(copy, "tune", folder, "--minutes", "0.001", *LM)
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    assert manifest["tuned"]["policy"]["made_up"] == 3
    manifest["tuned"]["policy"]["made_up"] = 7
    file.write_text(json.dumps(manifest))
    command(copy, "predict", folder, "sweet apple", *LM, "--out", "tuned.jsonl")
    settings = json.loads((copy / "tuned.jsonl.settings.json").read_text())
    assert settings["made_up"] == 7, "what was tuned is used"


def test_the_settings_of_a_run_have_it(copy):
    arguments = ("predict", "indexes/things", "sweet apple", *LM, "--out", "rows.jsonl")
    command(copy, *arguments, "--made-up", "4")
    assert json.loads((copy / "rows.jsonl.settings.json").read_text())["made_up"] == 4
    done = ran(copy, "-m", "ragicl", *arguments, "--made-up", "5")
    assert done.returncode == 1
    assert "was made with made_up 4, not 5" in done.stderr


def test_the_documentation_has_it(copy):
    hook = str(ROOT / "docs" / "hooks" / "generate.py")
    code = f"import runpy; print(runpy.run_path({hook!r})['options']())"
    row = "| `--made-up` | `made_up` | retrieval | tuned, or 3 | A made-up option. |"
    assert row in ran(copy, "-c", code).stdout.splitlines()
