"""What serves the page: background runs, caches, limits."""
