"""The layers hold: a module imports from its own layer or from those to its left."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

PACKAGE = Path(__file__).parents[1] / "ragicl"
LAYERS = [
    {"errors", "records", "protocols", "atomic", "framing", "forks", "timing"},
    {"data", "backends", "prompting", "calibration"},
    {"index", "options", "policy"},
    {"retrieval"},
    {"probes"},
    {"inference", "curation"},
    {"engine"},
    {"evaluate", "profiling", "integrations", "serving"},
    {"tune"},
    {"cli"},
    {"__init__", "__main__"},
]
HOMES = {
    "torch": {"backends/hf", "index/vectors/torch_gpu.py"},
    "transformers": {"backends/hf"},
    "sentence_transformers": {"backends/sentence_transformers.py"},
    "bm25s": {"retrieval/bm25.py"},
    "faiss": {"index/vectors/faiss_import.py"},
    "datasets": {"data/arrow.py", "backends/hf/training/batches.py"},
    "yaml": {"data/rasa.py"},
    "python_calamine": {"data/spreadsheet.py"},
    "pyarrow": {"data/arrow.py"},
    "sqlite3": {"index/store"},
    "sklearn": {
        *("serving/summary.py", "integrations/sklearn.py", "retrieval/fixed.py"),
        *("probes/logistic.py", "evaluate/references/linear.py"),
    },
    "threadpoolctl": {"probes/logistic.py"},
    "peft": {"backends/hf/training/methods.py"},
    "rouge_score": {"evaluate/metrics/text_scores.py"},
    "sacrebleu": {"evaluate/metrics/text_scores.py"},
    "click": {"cli"},
    "matplotlib": {"evaluate/report/plots"},
}
LONGEST_MODULE = 350  # lines
LONGEST_FUNCTION = 50
MEDIAN_BODY = 8
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(name: str) -> int:
    return next(n for n, names in enumerate(LAYERS) if name in names)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_stay_left(path):
    own = layer(part(path))
    for name in imported(path):
        if name.startswith("ragicl."):
            assert layer(name.split(".")[1]) <= own, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_imports_stay_at_home(path):
    place = str(path.relative_to(PACKAGE))
    for name in imported(path):
        homes = HOMES.get(name.split(".")[0], {place})
        assert any(place.startswith(home) for home in homes), f"{place} imports {name}"


def test_every_module_has_a_layer():
    assert {part(path) for path in MODULES} == set().union(*LAYERS)


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield str(path.relative_to(PACKAGE)), node


def lines(first: ast.stmt, last: ast.stmt) -> int:
    assert last.end_lineno is not None
    return last.end_lineno - first.lineno + 1


def test_functions_are_small():
    long = [
        f"{place}: {own.name} has {size} lines"
        for place, own in functions()
        if (size := lines(own, own)) > LONGEST_FUNCTION
    ]
    assert not long
    assert median(lines(own.body[0], own.body[-1]) for _, own in functions()) < MEDIAN_BODY


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_small(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE
