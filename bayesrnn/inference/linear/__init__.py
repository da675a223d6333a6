"""The effect of masks to first order: a control variate for draws, and variances without any draws."""
