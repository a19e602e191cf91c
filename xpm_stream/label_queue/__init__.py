"""The label queue on Redis: codec, ledger, streams, embedded server. No torch."""
