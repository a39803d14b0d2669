"""The mixture of the tasks' data, changed in training by what a monitor measures."""
