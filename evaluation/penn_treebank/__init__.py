"""The Penn Treebank tables of Zaremba et al. (2014) and Gal & Ghahramani (2016), measured with this code.

Run `python -m evaluation.penn_treebank --help`.
"""
