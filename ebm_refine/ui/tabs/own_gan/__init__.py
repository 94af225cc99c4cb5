"""Bring a GAN of your own."""
