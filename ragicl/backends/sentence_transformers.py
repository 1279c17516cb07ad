"""Any sentence-transformers model as an encoder; the only home of sentence_transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ragicl.backends.defaults import MINILM
from ragicl.backends.hf.quiet import quiet
from ragicl.errors import BackendError, first_line, quoted
from ragicl.forks import compute
from ragicl.protocols import FloatArray

BATCH = 64
BF16 = "bfloat16"
CHANGING = {"truncation", "padding"}  # of a tokenizer: they follow each batch


def open_st(name: str) -> STEncoder:
    """Open a sentence-transformers model by hub name or path."""
    return STEncoder(f"st:{name}", _load(name))


def open_st_bf16(name: str) -> STEncoder:
    """Open a sentence-transformers model that computes in bf16."""
    return STEncoder(f"st-bf16:{name}", _load(name, BF16), source=f"st:{name}, bfloat16")


def open_minilm() -> STEncoder:
    """Open all-MiniLM-L6-v2: the packaged files where installed, else from the hub."""
    return STEncoder("minilm", _load(str(MINILM.path() or MINILM.hub)), source=MINILM.describe())


def open_minilm_bf16() -> STEncoder:
    """Open all-MiniLM-L6-v2, computing in bf16."""
    model = _load(str(MINILM.path() or MINILM.hub), BF16)
    return STEncoder("minilm-bf16", model, source=f"{MINILM.describe()}, bfloat16")


class STEncoder:
    """A sentence-transformers model behind the :class:`ragicl.protocols.Encoder` protocol."""

    def __init__(self, spec: str, model: SentenceTransformer, *, source: str | None = None) -> None:
        self.spec = spec
        self.description = source or spec
        self.dim = int(model.get_embedding_dimension() or 0)
        self.fingerprint = _fingerprint(model)
        self._rounded = str(model.dtype) != "torch.float32"  # and so would lengths be
        self._model = model
        self._lock = Lock()

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return unit-length embeddings, shape (len(texts), dim); the model cuts long texts."""
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        compute()
        with self._lock:
            vectors = self._model.encode(  # sorts by length itself
                list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
            )
        found: FloatArray = np.ascontiguousarray(vectors, dtype=np.float32)
        if self._rounded:
            found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found


def _load(name: str, dtype: str = "float32") -> SentenceTransformer:
    compute()
    try:
        with quiet():
            return SentenceTransformer(name, model_kwargs={"dtype": dtype})
    except Exception as error:  # a damaged file brings out errors of many libraries
        raise BackendError(
            f"cannot load the encoder {quoted(name)}: {first_line(error)}; "
            f"give a hub name or a model folder"
        ) from error


def _fingerprint(model: SentenceTransformer) -> str:
    """Hash the weights and the settings that shape a vector, wherever the files came from."""
    settings: list[Any] = [model.max_seq_length]
    if str(model.dtype) != "torch.float32":
        settings.append(str(model.dtype))
    for module in model.children():  # such as how tokens are pooled
        described: Any = getattr(module, "get_config_dict", dict)
        settings += [described(), _token_settings(getattr(module, "tokenizer", None))]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _token_settings(tokenizer: Any) -> Any:
    """Return what shapes token ids: the vocabulary, how a text is cut up, whether case counts."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(fast, "to_str"):
        settings = json.loads(fast.to_str())
        return {name: settings[name] for name in settings if name not in CHANGING}
    if hasattr(tokenizer, "get_vocab"):  # one written in Python
        cased = getattr(tokenizer, "do_lower_case", None)
        return [type(tokenizer).__name__, tokenizer.get_vocab(), cased]
    return None
