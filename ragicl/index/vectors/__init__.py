"""Where vectors are searched: FAISS, derived from the store."""
