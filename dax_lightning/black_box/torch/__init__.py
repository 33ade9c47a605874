"""Black boxes that are torch modules."""
