"""Steps that compare texts: the same, almost the same, and training text beside held-out text."""
