"""Measured runs: resumable jobs, tables, sweeps over settings, and work shared among processes."""
