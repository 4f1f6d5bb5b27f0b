"""Why an image is no row of numbers: the one exception of all readers."""


class Unreadable(ValueError):
    """A file that can not be read; the message goes after its name."""
