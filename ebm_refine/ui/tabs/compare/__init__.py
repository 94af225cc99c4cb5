"""The tab that compares two methods."""
