"""The fault matrix: every crash point x every fault, with real processes and a real Redis, judged by counting."""
