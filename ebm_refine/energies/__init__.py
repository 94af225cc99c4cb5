"""A checkpoint and a log ratio become a target: an energy with its gradient."""
