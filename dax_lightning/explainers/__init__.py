"""From answers to maps, one family of methods a package."""
