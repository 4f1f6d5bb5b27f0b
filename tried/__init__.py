"""What 2014 tried and left out, and what else its modules held that the 17 models do not use.

Imported by name (`from tried.layers import ...`); nothing below or beside imports it.

- `layers`, `cc_layers`: inputs of other shapes, bc01 and 1D convolutions, pooling, normalisation, output layers.
- `augmentation`: gamma, pixel noise, brightness, other scales, polar views.
- `images`: small operations on images.
"""
