"""Reports: is a predictive calibrated, what is wrong, and a page that says so."""

from .page import Page as Page

__all__ = ["Page"]
