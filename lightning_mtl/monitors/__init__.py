"""Callbacks that measure the gradients of the tasks and change nothing."""
