"""Measured runs: resumable jobs, tables, sweeps over settings, and work shared among processes."""

from ebm_refine.utils.moved import names_of

__getattr__ = names_of("ebm_refine.evaluation", "ebm_refine.evaluation.jobs")
