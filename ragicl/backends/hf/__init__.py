"""Hugging Face models; with ``ragicl.backends.st`` the only home of torch and transformers."""
