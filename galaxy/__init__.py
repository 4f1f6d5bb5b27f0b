"""What one galaxy is: its questions, its image file, its pixels, its photometry. No folder, no network."""
