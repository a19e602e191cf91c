"""A network that only counts, and its corpus: delivery at full speed, with proof by counting in the weights."""
