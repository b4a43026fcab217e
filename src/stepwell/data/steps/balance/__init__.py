"""Steps about how much of what: labels, classes, sources, and the order of training."""
