"""A step that makes documents of documents, for training alone, marked as such."""
