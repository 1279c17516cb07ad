"""Which examples become demonstrations."""
