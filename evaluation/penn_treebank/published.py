"""Perplexities that the papers print: Zaremba et al. (2014), table 1, and Gal & Ghahramani (2016), table 1."""

PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "medium": {
        "none": {"valid": 121.1, "test": 121.7},
        "zaremba": {
            "valid": 86.2,
            "test": 82.7,
            "test_ensemble_2": 77.0,
            "test_ensemble_5": 73.3,
            "test_ensemble_10": 72.0,
        },
        "moon": {"valid": 100.7, "test": 97.0},
        "gal-tied": {"valid": 81.8, "test": 79.7, "test_mc": 79.0},
        "gal-untied": {"valid": 81.9, "test": 79.7, "test_mc": 78.6},
    },
    "large": {
        "none": {"valid": 128.3, "test": 127.4},
        "zaremba": {
            "valid": 82.2,
            "test": 78.4,
            "test_ensemble_2": 73.6,
            "test_ensemble_10": 69.5,
            "test_ensemble_38": 68.7,
        },
        "moon": {"valid": 122.9, "test": 118.7},
        "gal-tied": {"valid": 77.3, "test": 75.0, "test_mc": 74.1},
        "gal-untied": {"valid": 77.9, "test": 75.2, "test_mc": 73.4, "test_ensemble_10": 68.7},
    },
}
