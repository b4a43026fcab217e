"""A step that writes columns beside a text: words, parts of speech, names. The text stays as it is."""
