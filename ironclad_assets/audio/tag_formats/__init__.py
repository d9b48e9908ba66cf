"""One module per family of tags; `sheet` is the neutral form between them."""
