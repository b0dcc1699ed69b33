"""What gives safety back: words, decoding, weights; and how they compare."""
