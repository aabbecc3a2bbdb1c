"""The figures of the README, measured: `make bench`, or `make bench ARGS=promotion` for one of them."""
