"""Weightings: callbacks that turn statistics of the tasks into weights."""
