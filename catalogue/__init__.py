"""Catalogue of your own images: files of any format in, a table of a trained network's predictions out. No torch.

Imports only `galaxy/` and `machine/`. doc/README.md lists the modules.
"""
