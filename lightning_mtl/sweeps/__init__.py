"""Sweeps: many runs of one config under several methods, planned, queued, executed and judged."""
