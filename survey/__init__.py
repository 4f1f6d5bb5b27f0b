"""A data set on disk, in Kaggle's layout: folders, ids, labels, pixels, draws, views, predictions, blends.

The package also measures galaxies as SExtractor does, and brings Kaggle's download and your own galaxies to this
layout. It contains no network and does not import torch.
"""
