"""The papers' experiments, and the comparisons of speed and quality with peers. Imports only the public package."""
