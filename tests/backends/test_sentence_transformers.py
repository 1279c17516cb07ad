"""The sentence-transformers backend, on a tiny random model and the packaged one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from ragicl.backends import open_encoder
from ragicl.backends.defaults import MINILM
from ragicl.backends.sentence_transformers import BATCH, STEncoder, _fingerprint, _token_settings
from ragicl.errors import BackendError

SENTENCES = ["play some music", "will it rain today", "set an alarm for five", "move the meeting"]
DIM = 32
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

needs_minilm = pytest.mark.skipif(MINILM.path() is None, reason=f"needs {MINILM.package}")


@cache
def vocabulary() -> dict[str, int]:
    """Return word pieces, trained once: ties fall differently every time."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    pieces: dict[str, int] = tokenizer.get_vocab()
    return pieces


def word_tokenizer(*, lowercase: bool, swapped: bool) -> PreTrainedTokenizerFast:
    pieces = vocabulary()
    if swapped:
        pieces = {**pieces, "p": pieces["m"], "m": pieces["p"]}
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def save_tiny_encoder(
    folder: Path,
    *,
    seed: int = 0,
    longest: int = 64,
    lowercase: bool = False,
    swapped: bool = False,
) -> None:
    tokenizer = word_tokenizer(lowercase=lowercase, swapped=swapped)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"), max_seq_length=longest)
    SentenceTransformer(modules=[words, Pooling(DIM)], device="cpu").save(str(folder / "model"))


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(**settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("encoder")
        save_tiny_encoder(folder, **settings)
        return folder / "model"

    return make


@pytest.fixture(scope="module")
def folder(encoder_folder: Callable[..., Path]) -> Path:
    return encoder_folder()


@pytest.fixture(scope="module")
def tiny(folder: Path) -> STEncoder:
    encoder = open_encoder(f"st:{folder}")
    assert isinstance(encoder, STEncoder)
    return encoder


def test_vectors_have_unit_length(tiny: STEncoder) -> None:
    vectors = tiny.encode([*SENTENCES, "", "unknown words ✓", "music " * 500])
    assert vectors.shape == (7, DIM) == (7, tiny.dim)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors[:4].round(3), axis=0)) == 4


def test_no_texts_give_an_empty_table(tiny: STEncoder) -> None:
    vectors = tiny.encode([])
    assert vectors.shape == (0, DIM)
    assert vectors.dtype == np.float32


def test_vector_does_not_depend_on_the_batch_or_its_order(tiny: STEncoder) -> None:
    texts = [f"{text} {'music ' * (i % 9)}" for i in range(BATCH // 2) for text in SENTENCES]
    together = tiny.encode(texts)
    np.testing.assert_allclose(tiny.encode(texts[::-1])[::-1], together, atol=1e-5)
    alone = np.concatenate([tiny.encode([text]) for text in texts[:20]])
    np.testing.assert_allclose(alone, together[:20], atol=1e-5)


def test_fingerprint_survives_reopening_and_knows_other_weights(
    tiny: STEncoder, folder: Path, encoder_folder: Callable[..., Path]
) -> None:
    copy = encoder_folder()  # the same weights, elsewhere
    assert open_encoder(f"st:{folder}").fingerprint == tiny.fingerprint
    assert open_encoder(f"st:{copy}").fingerprint == tiny.fingerprint
    others = {open_encoder(f"st:{encoder_folder(**s)}").fingerprint for s in OTHER}
    assert len(others | {tiny.fingerprint}) == 1 + len(OTHER)


OTHER = [{"seed": 1}, {"longest": 16}, {"lowercase": True}, {"swapped": True}]


def test_fingerprint_does_not_change_with_use(folder: Path) -> None:
    encoder = open_encoder(f"st:{folder}")
    encoder.encode(["music " * 500, "rain"])
    assert isinstance(encoder, STEncoder)
    assert _fingerprint(encoder._model) == encoder.fingerprint


def test_fingerprint_knows_a_tokenizer_written_in_python() -> None:
    def settings(**vocabulary: int) -> object:
        return _token_settings(SimpleNamespace(get_vocab=lambda: vocabulary))

    assert settings(a=1) == settings(a=1) != settings(a=2)
    assert _token_settings(None) is None


def test_spec_opens_the_same_encoder_again(tiny: STEncoder, folder: Path) -> None:
    assert tiny.spec == tiny.description == f"st:{folder}"
    again = open_encoder(tiny.spec)
    np.testing.assert_array_equal(again.encode(SENTENCES), tiny.encode(SENTENCES))


def test_eight_threads_encode_as_one_does(tiny: STEncoder) -> None:
    batches = [[text] * n for n, text in enumerate(SENTENCES * 2, start=1)]
    expected = [tiny.encode(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(tiny.encode, batches), expected, strict=True):
            np.testing.assert_allclose(found, right, atol=1e-6)


def error_line(spec: str) -> str:
    with pytest.raises(BackendError) as caught:
        open_encoder(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_model_and_folder_without_one(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        message = error_line(f"st:{folder}")
        assert message.startswith(f"cannot load the encoder '{folder}': ")
        assert message.endswith("; give a hub name or a model folder")


def test_damaged_weights_are_an_error_in_one_line(encoder_folder: Callable[..., Path]) -> None:
    folder = encoder_folder()
    (weights,) = folder.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    assert f"'{folder}'" in error_line(f"st:{folder}")


@pytest.mark.parametrize("spec", ["st", "st:", "bert:x", "minilm:x", ""])
def test_unknown_kinds_are_named_with_the_known_ones(spec: str) -> None:
    assert error_line(spec).startswith(
        f"unknown encoder {spec!r}; known: minilm, minilm-bf16, st:NAME"
    )


@needs_minilm
def test_packaged_encoder_in_bf16_is_near_and_told_apart() -> None:
    exact, quick = open_encoder("minilm"), open_encoder("minilm-bf16")
    assert quick.fingerprint != exact.fingerprint
    assert (quick.spec, quick.description) == ("minilm-bf16", f"{exact.description}, bfloat16")
    vectors = quick.encode(SENTENCES)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosines = (vectors * exact.encode(SENTENCES)).sum(axis=1)
    assert (cosines > 0.999).all()
    assert (cosines < 1).any(), "rounded"


@needs_minilm
def test_packaged_encoder_finds_what_is_alike() -> None:
    encoder = open_encoder("minilm")
    first, alike, other = encoder.encode(
        ["put on some jazz", "play music for me", "what is the capital of France?"]
    )
    assert encoder.dim == 384
    assert first @ alike > first @ other + 0.2
    assert MINILM.package in encoder.description
