"""Text as numbers: token shards on disk, and rows packed of them for training.

This room leaves out the tokenizers themselves (`stepwell/tokenizers`).
"""
