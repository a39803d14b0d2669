"""Rooms that are sampled and rendered: a data set that needs no file."""
