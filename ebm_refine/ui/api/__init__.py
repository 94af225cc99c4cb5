"""The pinned HTTP endpoints."""
