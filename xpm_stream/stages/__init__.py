"""The roles of a run: labeling, training, promotion, and all of them on one machine."""
