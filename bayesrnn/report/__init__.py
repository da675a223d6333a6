"""Reports: is a predictive calibrated, what is wrong, and a page that says so."""

from .calibration import CalibrationReport as CalibrationReport
from .calibration import calibration_report as calibration_report
from .page import Page as Page

__all__ = ["CalibrationReport", "Page", "calibration_report"]
