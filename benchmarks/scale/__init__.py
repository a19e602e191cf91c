"""What one Redis carries: many stub labelers and one trainer, Redis alone, and a large ledger."""
