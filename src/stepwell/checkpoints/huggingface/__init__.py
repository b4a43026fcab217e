"""The families of transformers: their configs, their names, how their matrices lie."""
