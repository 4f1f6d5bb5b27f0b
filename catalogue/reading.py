"""How the catalogue reads an image: `galaxy.image_files.read`, under the name that scripts of users import."""

from galaxy.image_files import read

__all__ = ["read"]
