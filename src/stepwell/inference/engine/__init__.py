"""Many requests at once: continuous batching over blocks of keys and values."""
