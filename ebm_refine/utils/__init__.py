"""Files that are never half-written, devices, cancellation, timing."""
