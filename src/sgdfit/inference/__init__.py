"""What curvature tells: stable rates, standard errors, what is not determined."""
