"""Foreign weights become checkpoints."""
