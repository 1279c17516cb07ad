"""Hugging Face causal language models: loaded, counted, scored, generated from, fine-tuned."""

import os

# For each shape of a bf16 product, oneDNN keeps its compiled kernel, and torch a copy of its plan:
# 0.6 MB, up to 1,024 of each, among which freed memory lies unused. Hardly two passes have the same
# number of tokens, so that a process grew to several times its size. Both read their limit at the
# first such product. A pass over 8,000 tokens has some 270 shapes, used again in each layer; the
# copies save no time.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
os.environ.setdefault("LRU_CACHE_CAPACITY", "1")
