"""The tab of code examples."""
