"""Specs open built-in backends and those of installed plugins; errors say what is known."""

import sys

import pytest
from cli_runner import fails, lines, run, write_rows

from ragicl.backends import open_encoder, open_lm, registry
from ragicl.errors import BackendError

ROWS = [
    {"text": "my card is lost", "label": "card"},
    {"text": "a card was stolen", "label": "card"},
    {"text": "where is my parcel", "label": "parcel"},
    {"text": "the parcel is late", "label": "parcel"},
]
MODULE = """
from ragicl.backends.fake import FakeEncoder, FakeLM


class MyLM(FakeLM):
    def __init__(self, name, dtype):
        super().__init__(window=500)
        self.description = f"my model {name}, {dtype}"

    spec = "myplugin:x"


def open_my_lm(name, *, dtype="auto"):
    return MyLM(name, dtype)


def open_my_encoder(name):
    encoder = FakeEncoder(name, dim=32)
    encoder.spec = f"mywords:{name}"
    return encoder
"""
ENTRY_POINTS = """
[ragicl.lms]
myplugin = my_backends:open_my_lm
broken = my_broken_backends:open_lm
hf = my_backends:open_my_lm

[ragicl.encoders]
mywords = my_backends:open_my_encoder
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package that adds a language model and an encoder, installed by its metadata alone."""
    site = tmp_path / "site"
    metadata = site / "my_backends-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "my_backends.py").write_text(MODULE)
    (site / "my_broken_backends.py").write_text("import a_module_that_is_missing\n")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-backends\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("my_backends", None)


def test_a_plugin_is_used_from_the_shell_by_its_spec(plugin, tmp_path):
    write_rows(tmp_path / "rows.jsonl", ROWS)
    run("index", "rows.jsonl", "--encoder", "mywords:b")
    arguments = ["my card is lost again", "--lm", "myplugin:x", "--decide", "lm", "--k", 2]
    (row,) = lines(run("predict", "indexes/rows", *arguments, "--dtype", "float32"))
    assert (row["output"], row["lm"]) == ("card", "my model x, float32")
    assert '"mywords:b"' in (tmp_path / "indexes" / "rows" / "manifest.json").read_text()


def test_a_plugin_that_cannot_be_imported_is_named(plugin):
    with pytest.raises(BackendError, match=r"plugin 'broken' \(my_broken_backends:open_lm\)") as it:
        open_lm("broken:x")
    assert "ModuleNotFoundError: No module named 'a_module_that_is_missing'" in str(it.value)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize("spec", ["nowhere:x", "myplugin", "myplugin:", "hf:", "hf", ""])
def test_an_unknown_kind_lists_those_built_in_and_installed(plugin, spec):
    with pytest.raises(BackendError, match=f"unknown language model '{spec}'; known: ") as caught:
        open_lm(spec)
    assert str(caught.value).partition("known: ")[2].split(", ") == [
        "smollm2",
        "hf:NAME",
        "fake:NAME",
        "fake-text:NAME",
        "fake-choice:NAME",
        "fake-features:NAME",
        "broken:NAME",
        "myplugin:NAME",
    ]
    with pytest.raises(BackendError, match=r"fake:NAME, mywords:NAME$"):
        open_encoder("nowhere:x")


def test_a_built_in_kind_is_opened_without_looking_for_plugins(plugin, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda **_: pytest.fail("looked for plugins"))
    assert open_lm("fake:30").window == 30
    assert open_encoder("fake:b").spec == "fake:b"


def test_an_error_at_the_shell_is_one_line(plugin, tmp_path):
    write_rows(tmp_path / "rows.jsonl", ROWS)
    run("index", "rows.jsonl", "--encoder", "mywords:b")
    fails("predict", "indexes/rows", "x", "--lm", "broken:x", match="the plugin 'broken'")


@pytest.mark.parametrize(
    ("opened", "spec"), [(open_lm, "hf:x"), (open_lm, "smollm2"), (open_encoder, "st:x")]
)
def test_a_missing_module_is_named(monkeypatch, opened, spec):
    def missing(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(registry, "import_module", missing)
    with pytest.raises(BackendError, match=f"'{spec}' needs torch: pip install torch"):
        opened(spec)
