"""Decoders in machine code: many texts extended at once, on a CPU, over keys and values in blocks.

What it computes is what `models.Decoder` computes, with weights of 32, 16, 8 or 4 bits. It is compiled for the
processor it runs on, once, by the C++ compiler of the machine (`build.py`); without one `models` does the work.
"""
