"""stepwell: from people's own text to a language model that is measured, improved and delivered, step by step."""

__version__ = "0.1.0"
