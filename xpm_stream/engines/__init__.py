"""Detection engines behind one protocol."""
