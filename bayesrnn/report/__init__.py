"""Reports: is a predictive calibrated, what is wrong, and a page that says so."""

from bayesrnn.report.calibration import CalibrationReport as CalibrationReport
from bayesrnn.report.calibration import calibration_report as calibration_report
from bayesrnn.report.page import Page as Page

__all__ = ["CalibrationReport", "Page", "calibration_report"]
