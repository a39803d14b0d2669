"""Encoders: image in, features at strides 1 to 32 out."""
