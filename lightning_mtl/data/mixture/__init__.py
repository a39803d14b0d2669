"""Batches that mix the data sets of several tasks, one for each, in given shares."""
