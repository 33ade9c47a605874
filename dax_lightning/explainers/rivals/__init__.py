"""Other methods on DAX-Mosaic's copies: what is theirs, and what the copies give to any method."""
