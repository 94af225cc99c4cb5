"""The tab of the plane."""
