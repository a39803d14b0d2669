"""What a few hundred steps of a run tell about its tasks, in numbers and in words."""
