"""The second experiment of Gal & Ghahramani (2016), arXiv:1512.05287: sentiment regression with LSTM and GRU."""
