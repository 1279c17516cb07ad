"""Shared fixtures: no test reaches a model hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports a library that reads it

from ragicl import Example, Index
from ragicl.backends.fake import FakeEncoder

pytest_plugins = ["cli_runner", "tiny_models"]

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def texts_folder(tmp_path: Path, encoder: FakeEncoder) -> Path:
    """An index of texts to write."""
    with Index.create(tmp_path / "texts", encoder=encoder, kind="generate") as index:
        index.add([Example("say hello", "hello there"), Example("say bye", "good bye now")])
    return tmp_path / "texts"
