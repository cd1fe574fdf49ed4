"""The statistics wing: attribution of gains to factors, from a frame and column names."""
