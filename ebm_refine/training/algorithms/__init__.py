"""Losses and training loops, one algorithm a file."""
