"""How close are dropout posteriors to the truth: a GRU small enough for Hamiltonian Monte Carlo."""
