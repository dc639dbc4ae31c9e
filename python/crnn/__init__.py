"""Read words and other sequences from images with CRNN."""
