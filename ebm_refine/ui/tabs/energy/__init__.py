"""The tab of energy models."""
