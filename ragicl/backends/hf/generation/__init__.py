"""Text written by a Hugging Face model, one answer or many at once."""
