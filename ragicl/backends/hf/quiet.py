"""Loading without the libraries' own progress bars and notes on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as model_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers and the hub's retries for the length of the block, not downloads."""
    level, bars = model_logging.get_verbosity(), model_logging.is_progress_bar_enabled()
    hub_level = hub_logging.get_verbosity()
    model_logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    model_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        model_logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bars:
            model_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
