"""What SECURITY.md says of the code: nothing that is read can run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

PICKLING = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "ragicl").rglob("*.py")):
        yield path, ast.parse(path.read_text())


def test_no_pickles_are_read() -> None:
    loads = 0
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names}
                names.add((getattr(node, "module", None) or "").split(".")[0])
                assert not names & PICKLING, path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "eval", "exec", "yaml.load"), path
            if called == "np.load":
                loads += 1
                given = {own.arg: ast.unparse(own.value) for own in node.keywords}
                assert given.get("allow_pickle") == "False", path
            assert "trust_remote_code" not in {own.arg for own in node.keywords}, path
    assert loads, "arrays are read somewhere"


def test_the_page_names_tests_that_exist() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[^`]*)`", page)
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert "SECURITY.md" in (ROOT / "docs" / "security.md").read_text()
