"""Log-likelihoods of answers: one pass over many prompts and a trie of their labels."""
