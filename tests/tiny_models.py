"""Tiny, randomly initialised language models of many architectures, made on disk; the real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    FalconH1Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
)

from ragicl.backends import open_lm
from ragicl.backends.defaults import SMOLLM2
from ragicl.backends.hf.lm import HFLM

needs_packaged = pytest.mark.skipif(
    SMOLLM2.path() is None, reason=f"needs the package {SMOLLM2.package}"
)

SENTENCES = [
    "Classify each text.\nText: what is on my calendar today\nLabel: calendar\n",
    "Text: move the meeting with bob to five\nLabel: calendar update\n",
    "Text: play some jazz music please\nLabel: play music\n",
    "Text: will it rain in Paris, don't you think?\nLabel: weather query\n",
    "Text: set an alarm for 12:30\nLabel: alarm set\n",
] * 3
PROMPT = (
    "Classify each text.\nText: play some music\nLabel: play music\nText: will it rain?\nLabel:"
)
ANSWERS = [
    " calendar\n",
    " calendar",  # begins the one above
    " calendar update\n",
    " calendar update at half past five with bob\n",
    " weather query\n",
    "\n",
    "x",
]
END = "<|end|>"
WINDOW = 512
WIDE = 0.3  # standard deviation of random weights: attention to the wrong place shows
PACKABLE = ("llama", "gpt2", "neox")
TOKENIZERS = ("bytes", "metaspace", "merging")


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """No pre-tokenizer: a merge may join the end of a prompt and the beginning of an answer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """As sentencepiece makes them: a space before the text, bytes for the unknown, BOS first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trained = _trained(tokenizer, size=250).backend_tokenizer
    state = json.loads(trained.to_str())
    vocabulary = state["model"]["vocab"]
    for token in ("<unk>", *(f"<0x{byte:02X}>" for byte in range(256))):
        vocabulary[token] = len(vocabulary)
    state["model"].update(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=END)


def _trained(
    tokenizer: Tokenizer, size: int = 400, initial_alphabet: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=list(initial_alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    makers = {
        "bytes": byte_level_tokenizer,
        "metaspace": metaspace_tokenizer,
        "merging": merging_tokenizer,
    }
    return makers[kind]()


def tiny_config(architecture: str) -> PreTrainedConfig:
    wide = {"initializer_range": WIDE}
    usual = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": WINDOW,
        **wide,
    }
    grouped = {**usual, "num_key_value_heads": 2}
    configs: dict[str, Callable[[], PreTrainedConfig]] = {
        "llama": lambda: LlamaConfig(**grouped),
        "gpt2": lambda: GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=WINDOW, **wide),
        "neox": lambda: GPTNeoXConfig(**usual),
        "mistral": lambda: MistralConfig(**grouped, sliding_window=8),
        "gemma2": lambda: Gemma2Config(**grouped, head_dim=8, sliding_window=8),
        "bloom": lambda: BloomConfig(hidden_size=32, n_layer=2, n_head=4, **wide),
        "mamba": lambda: MambaConfig(hidden_size=32, state_size=8, num_hidden_layers=2, **wide),
        "gemma3": lambda: Gemma3TextConfig(
            **grouped,
            head_dim=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "qwen3next": lambda: Qwen3NextConfig(
            **grouped,
            head_dim=8,
            layer_types=["linear_attention", "full_attention"],
            linear_num_value_heads=4,
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
        ),
        "falconh1": lambda: FalconH1Config(
            **grouped,
            head_dim=8,
            mamba_n_heads=8,
            mamba_d_head=8,
            mamba_d_ssm=64,
            mamba_n_groups=2,
            mamba_d_state=8,
            mamba_chunk_size=8,
        ),
        "recurrentgemma": lambda: RecurrentGemmaConfig(
            **{**grouped, "num_hidden_layers": 3}, lru_width=32, attention_window_size=8
        ),
    }
    return configs[architecture]()


def save_tiny_model(
    folder: Path, architecture: str, tokenizer: PreTrainedTokenizerFast, seed: int = 0
) -> None:
    config = tiny_config(architecture)
    config.vocab_size = len(tokenizer)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.pad_token_id = None
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Tiny:
    """A tiny model on disk, opened by ragicl and, apart from that, by transformers alone."""

    folder: Path
    lm: HFLM
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    def reference(self, prompt: str, answers: Sequence[str]) -> list[float]:
        return slow_scores(self.model, self.tokenizer, prompt, answers)

    def greedy(self, prompt: str, tokens: int) -> str:
        ids = self.tokenizer(prompt, return_tensors="pt")
        ids.pop("token_type_ids", None)
        written = self.model.generate(
            **ids, do_sample=False, max_new_tokens=tokens, pad_token_id=0
        )[0, ids["input_ids"].shape[1] :]
        return self.tokenizer.decode(written, skip_special_tokens=True)


def slow_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompt: str,
    answers: Sequence[str],
) -> list[float]:
    """One forward pass for each answer, over the text as the tokenizer cuts it up in one go."""
    texts = [tokenizer(prompt + answer)["input_ids"] for answer in answers]
    alone = tokenizer(prompt)["input_ids"]
    shared = 0
    while all(alone[: shared + 1] == ids[: shared + 1] != ids for ids in texts):
        shared += 1
    return [_log_probability(model, ids, shared) for ids in texts]


def _log_probability(model: PreTrainedModel, ids: Sequence[int], start: int) -> float:
    with torch.inference_mode():
        log_probs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(log_probs[i - 1, ids[i]].item() for i in range(start, len(ids)))


Open = Callable[..., Tiny]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Open a tiny model by architecture and tokenizer; each is made once."""

    @cache
    def make(architecture: str = "llama", tokenizer: str = "bytes") -> Tiny:
        folder = tmp_path_factory.mktemp(f"{architecture}-{tokenizer}")
        save_tiny_model(folder, architecture, tokenizer_of(tokenizer))
        lm = open_lm(f"hf:{folder}", dtype="float32")
        assert isinstance(lm, HFLM)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return Tiny(folder, lm, model, AutoTokenizer.from_pretrained(folder))

    return make


METHODS = ["full", "partial", "lora", "prompt-tuning"]
