"""The tab that refines samples."""
