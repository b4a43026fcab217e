"""Models measured by their tasks: what each says of held-out examples, and what it is worth."""
