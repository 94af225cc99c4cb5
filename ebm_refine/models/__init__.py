"""Checkpoints: their layout, loading from folders and the Hub, model cards, conversion, and preparation for speed."""
