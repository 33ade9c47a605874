"""SEGMENTS: the parts of an input that are kept or removed together."""
