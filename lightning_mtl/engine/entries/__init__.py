"""Which entries of each tensor one loss depends on, followed from the loss down its autograd graph.

The losses of several tasks are often entries of one vector, or means over columns of one matrix.
Autograd differentiates such an entry through everything that the whole vector is computed from, and
sends zeros where the entry does not depend on it, so that every head looks as if each loss used it.
The operations tell what an entry depends on. The numbers do not: a gradient may happen to be zero,
as below a head that was initialised with zeros.

Entries are followed while the operations keep them apart, and no further than the first one that
mixes them, such as a linear layer.
"""
