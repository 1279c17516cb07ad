"""The layers hold: a module imports from its own layer or from those to its left."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ragicl"
LAYERS = [
    {"errors", "records", "timing", "atomic"},
    {"protocols", "readers"},
    {"data", "order", "prompt", "backends"},
    {
        *(
            "select",
            "decide",
            "pooling",
            "ridge",
            "discriminant",
            "logistic",
            "classifier",
            "scaling",
            "calibrate",
            "conformal",
            "early",
            "fixed",
            "policy",
        ),
        *("tuned", "index", "groups", "features"),
    },
    {
        *(
            "composer",
            "learnt",
            "retrieve",
            "prior",
            "blender",
            "scoring",
            "shortcuts",
            "explain",
            "engine",
        ),
    },
    {
        *("agreement", "audit", "batch", "bench", "correct", "estimator", "show", "suggest"),
        "tune",
    },
    {"evaluate"},
    {"options"},
    {"commands"},
    {"cli", "__main__", "__init__"},
]
HOMES = {
    "torch": {"backends/hf", "index/exact.py"},
    "transformers": {"backends/hf"},
    "sentence_transformers": {"backends/st.py"},
    "bm25s": {"select/lexical.py"},
    "faiss": {"index/library.py"},
    "datasets": {"readers.py", "backends/hf/batches.py"},
    "pyarrow": {"readers.py"},
    "sqlite3": {"index/store.py"},
    "sklearn": {
        *("batch.py", "estimator.py", "fixed.py", "logistic.py"),
        "evaluate/references/linear.py",
    },
    "peft": {"backends/hf/adapt.py"},
    "rouge_score": {"evaluate/measures/texts.py"},
    "sacrebleu": {"evaluate/measures/texts.py"},
    "click": {"cli.py", "commands", "options.py"},
    "matplotlib": {"evaluate/report/plots"},
}
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
