"""What the code costs, measured: `python -m benchmarks.run_all` prints every figure beside its goal."""
