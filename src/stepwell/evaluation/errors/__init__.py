"""Where a model is wrong: the worst examples, confusions, and slices by length and label."""
