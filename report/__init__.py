"""Pages and figures of what networks say of galaxies: for people. No torch."""
