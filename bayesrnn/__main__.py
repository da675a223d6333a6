"""`python -m bayesrnn` is the command line."""

from bayesrnn.cli import run

if __name__ == "__main__":
    run()
