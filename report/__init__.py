"""Web pages and figures of predictions, for people. No torch."""
