"""`python -m benchmarks.operate`."""

from benchmarks.operate.command import main

if __name__ == "__main__":
    main()
