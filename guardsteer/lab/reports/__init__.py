"""The page of a vector: its calibration, traits, and where it acts."""
