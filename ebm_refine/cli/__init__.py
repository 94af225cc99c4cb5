"""The command line."""

from ebm_refine.cli.commands import main

__all__ = ["main"]
