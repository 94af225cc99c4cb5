"""Hyperparameter search over energy-based GANs."""
