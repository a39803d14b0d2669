"""The commands of `lightning-mtl`: their arguments, their messages and the folder of a run."""
