"""Everything in the plane: data sets with known laws, energy landscapes, pictures and known experiments."""
