"""From the losses of the tasks to `.grad`; knows torch and autograd, and not the Trainer."""
