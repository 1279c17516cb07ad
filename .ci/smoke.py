"""A smoke test of an installation: every module imports, and the demo is indexed and answered."""

import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ragicl

DEMO = Path(__file__).parents[1] / "eval" / "demo"


def ragicl_command(*arguments: str) -> str:
    """Run a command of the installed ragicl and return its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "ragicl", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"ragicl {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Import every module, then index and predict with the packaged encoder and model."""
    names = [m.name for m in pkgutil.walk_packages(ragicl.__path__, "ragicl.")]
    for name in names:
        if name != "ragicl.__main__":
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        index = f"{folder}/index"
        ragicl_command("index", str(DEMO / "train.jsonl"), "--out", index)
        for decide in ("knn", "lm"):
            row = ragicl_command("predict", index, "the mug came in pieces", "--decide", decide)
            assert json.loads(row)["output"] == "damaged item", row
    print(f"{len(names)} modules import; the demo is indexed and answered")  # noqa: T201


if __name__ == "__main__":
    main()
