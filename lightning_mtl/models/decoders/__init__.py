"""Decoders: features at several strides in, one map out."""
