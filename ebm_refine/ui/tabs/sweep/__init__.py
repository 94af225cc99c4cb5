"""The tab that sweeps step sizes and numbers of steps."""
