"""Readers of image data, with the crop and split of each data set."""
