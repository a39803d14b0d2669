"""Helmholtz's equation on the unit square, solved by a network that several losses train."""
