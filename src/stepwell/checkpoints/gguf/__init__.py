"""GGUF files, the format of llama.cpp, as models of another project."""

from stepwell.checkpoints.gguf.reading import read_gguf

__all__ = ["read_gguf"]
