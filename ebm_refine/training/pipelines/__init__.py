"""From a recipe to a finished checkpoint."""
