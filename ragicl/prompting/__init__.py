"""Templates, and prompts that fit a token budget."""
