"""The tab of energy-based GANs."""
