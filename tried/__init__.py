"""Methods that 2014 tried and left out, and other parts of its modules that the 17 models do not use.

Import them by name (`from tried.layers import ...`); no other module of the project does.

- `layers`, `cc_layers`: inputs of other shapes, bc01 and 1D convolutions, pooling, normalisation, output layers.
- `augmentation`: gamma, pixel noise, brightness, other scales, polar views.
- `images`: small operations on images.
"""
